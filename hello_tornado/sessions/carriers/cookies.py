"""The session cookie: strict parsing of the raw header, and configurable attributes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from tornado.httputil import HTTPServerRequest
from tornado.netutil import is_valid_ip

from hello_tornado.sessions import options
from hello_tornado.sessions.carriers.carrier import NOT_OURS, NOTHING_PRESENTED, PresentedIds
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.records.ids import SessionId

MAX_CANDIDATES: Final = 4
MAX_VERIFIED: Final = 200  # for a logout with too many cookies; browsers keep no more per host
HOST_PREFIX: Final = "__Host-"
SECURE_PREFIX: Final = "__Secure-"
# Browsers ignore longer paths and domains (RFC 6265bis, 5.6).
CHECKS: Final = {
    "name": options.text(
        re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}"),
        "1 to 128 letters, digits and characters of !#$%&'*+-.^_`|~",
    ),
    "persist": options.flag,
    "httponly": options.flag,
    "secure": options.one_of(True, False, "auto"),
    "samesite": options.any_case(None, "strict", "lax", "none", "auto"),
    "domain": options.optional(
        options.text(
            re.compile(r"(?=.{1,253}\Z)\.?[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*"),
            "a host name without scheme, port and path, such as example.org",
        )
    ),
    "path": options.text(
        re.compile(r"/[\x21-\x3a\x3c-\x7e]{0,1023}"),
        'a path that begins with "/", without spaces and ";", of at most 1024 characters',
    ),
    "partitioned": options.flag,
    "priority": options.any_case(None, "low", "medium", "high"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CookiePolicy:
    """The name and the attributes of the session cookie.

    Args:
        name: The name of the cookie ("session").
        persist: Keep the cookie until the session expires and for `remember_ended` after that, so
            that users can be told why it ended; False: until the browser is closed (True).
            `login(user_id, remember=…)` overrides it for one session.
        httponly: Hide the cookie from scripts (True).
        secure: True, False or "auto". With "auto", the cookie is Secure if the request came over
            https ("auto"). If it is Secure, `path` is "/" and `domain` is None, its name gets the
            prefix `__Host-`, so that no other host can set it.
        samesite: "strict", "lax", "none", "auto" or None. "auto" is None over https and Lax over
            http; with None the attribute is omitted ("lax"). "none" becomes Lax over http, because
            browsers accept SameSite=None from Secure cookies only.
        domain: A host name, to share the cookie with its subdomains (None: this host only).
        path: The path below which browsers send the cookie ("/").
        partitioned: Set Partitioned, over https only (False).
        priority: "low", "medium", "high" or None (None).

    Behind a proxy that terminates TLS, the manager's `trusted_proxies` determine which requests
    came over https.

    Raises:
        ConfigurationError: A value is invalid, or browsers would refuse the cookie.

    """

    name: str = "session"
    persist: bool = True
    httponly: bool = True
    secure: bool | Literal["auto"] = "auto"
    samesite: str | None = "lax"
    domain: str | None = None
    path: str = "/"
    partitioned: bool = False
    priority: str | None = None
    _always_comes_back: bool = field(init=False, repr=False, compare=False)
    # The names and the attributes without and with Secure, the same for all responses.
    _names: tuple[str, str] = field(init=False, repr=False, compare=False)
    _attributes: tuple[str, str] = field(init=False, repr=False, compare=False)

    request_header: ClassVar[str] = "Cookie"
    response_header: ClassVar[str] = "Set-Cookie"

    def __post_init__(self) -> None:
        options.check_fields(self, CHECKS)
        self._check_what_browsers_refuse()
        is_for_all = self._is_for_one_host and self.secure is not True and not self._is_prefixed
        object.__setattr__(self, "_always_comes_back", is_for_all)
        object.__setattr__(self, "_names", (self.name, self._name_over_https()))
        attributes = (self._attributes_for(secure=False), self._attributes_for(secure=True))
        object.__setattr__(self, "_attributes", attributes)

    def _check_what_browsers_refuse(self) -> None:
        if self.secure is False and self.samesite == "none":
            raise ConfigurationError('browsers refuse samesite "none" without secure')
        if self.secure is False and self.partitioned:
            raise ConfigurationError("browsers refuse partitioned without secure")
        if self._has_prefix(HOST_PREFIX) and not (self.secure and self._is_for_one_host):
            raise ConfigurationError("__Host- needs secure, the path / and no domain")
        if self._has_prefix(SECURE_PREFIX) and not self.secure:
            raise ConfigurationError("__Secure- needs secure")

    def read(
        self, request: HTTPServerRequest, keyring: Keyring, now: int, *, https: bool
    ) -> PresentedIds:
        """Return the ids in the request's cookies of this name; more than four are rejected."""
        if self.refuses(request, https=https) is not None:
            return NOTHING_PRESENTED
        return self.ids_in(request.headers.get_list("Cookie"), keyring, now, https=https)

    def ids_in(
        self, headers: Sequence[str], keyring: Keyring, now: int, *, https: bool
    ) -> PresentedIds:
        """Return the ids in Cookie *headers*, regardless of the policy's path and domain."""
        name = self._names[self._is_secure(https=https)]
        values = _values(headers, name)
        if not values:
            return NOTHING_PRESENTED
        if len(values) == 1:
            found = keyring.verify(name, values[0], now)
            return NOT_OURS if found is None else PresentedIds((found,))
        verified = [keyring.verify(name, value, now) for value in values[:MAX_VERIFIED]]
        signed = tuple({found.session_id: found for found in verified if found}.values())
        if len(values) > MAX_CANDIDATES:
            return PresentedIds(signed, "too_many")
        return PresentedIds(signed) if signed else NOT_OURS

    def issue(
        self,
        keyring: Keyring,
        session_id: SessionId,
        expires_at: int | None,
        now: int,
        *,
        https: bool,
    ) -> str:
        """Return a Set-Cookie header for *session_id*.

        The cookie expires at the moment *expires_at*; None: when the browser is closed.
        """
        secure = self._is_secure(https=https)
        name = self._names[secure]
        value = keyring.sign(name, session_id, now)
        if expires_at is None:
            return f"{name}={value}{self._attributes[secure]}"
        max_age = max(0, -((now - expires_at) // 1_000_000))  # rounded up
        return f"{name}={value}; Max-Age={max_age}{self._attributes[secure]}"

    def clear(self, *, https: bool) -> str:
        """Return a Set-Cookie header that deletes the cookie."""
        secure = self._is_secure(https=https)
        ends = "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        return f"{self._names[secure]}={ends}{self._attributes[secure]}"

    def persists(self, remember: bool | None) -> bool:
        """Whether the browser keeps the cookie when it is closed."""
        return self.persist if remember is None else remember

    def refuses(self, request: HTTPServerRequest, *, https: bool) -> str | None:
        """Return why the browser would not send the cookie with a request like this one, or None.

        For such requests, cookies are neither read nor set.
        """
        if self._always_comes_back:
            return None
        if (self.secure is True or self._is_prefixed) and not https:
            return (
                "browsers keep this cookie over https only, and the request came over http: if a "
                "proxy terminates TLS, add it to the manager's trusted_proxies; otherwise set "
                'secure="auto" and a name without __Host- and __Secure-'
            )
        if not _is_below(request.path, self.path):
            return (
                f"the cookie is for the path {self.path}, and the request is for another one: use "
                'sessions below that path only, or set path="/"; a proxy must forward the path '
                "that the browser requested"
            )
        if self.domain is not None and not _is_within(request.host_name, self.domain):
            return (
                f"the cookie is for the domain {self.domain}, and the request is for another "
                "host: set domain to the host, a parent domain or None; a proxy must forward the "
                "Host header of the browser"
            )
        return None

    @property
    def _is_for_one_host(self) -> bool:
        return self.path == "/" and self.domain is None

    @property
    def _is_prefixed(self) -> bool:
        return self._has_prefix(HOST_PREFIX) or self._has_prefix(SECURE_PREFIX)

    def _has_prefix(self, prefix: str) -> bool:
        """Whether the name has a prefix, in any case, as browsers compare it."""
        return self.name.lower().startswith(prefix.lower())

    def _is_secure(self, *, https: bool) -> bool:
        return https if self.secure == "auto" else self.secure

    def _name_over_https(self) -> str:
        if self._is_for_one_host and not self._is_prefixed:
            return HOST_PREFIX + self.name
        return self.name

    def _attributes_for(self, *, secure: bool) -> str:
        parts = ["", f"Path={self.path}"]
        if self.domain is not None:
            parts.append(f"Domain={self.domain}")
        if self.httponly:
            parts.append("HttpOnly")
        if secure:
            parts.append("Secure")
        if samesite := self._samesite(secure=secure):
            parts.append(f"SameSite={samesite}")
        if self.partitioned and secure:
            parts.append("Partitioned")
        if self.priority is not None:
            parts.append(f"Priority={self.priority.title()}")
        return "; ".join(parts)

    def _samesite(self, *, secure: bool) -> str | None:
        match self.samesite:
            case "none" | "auto":
                return "None" if secure else "Lax"
            case word:
                return word and word.title()


def _is_below(path: str, parent: str) -> bool:
    """Whether browsers send a cookie for the path *parent* with a request for *path*."""
    if not path.startswith(parent):
        return False
    return len(path) == len(parent) or parent.endswith("/") or path[len(parent)] == "/"


def _is_within(host: str, domain: str) -> bool:
    """Whether browsers send a cookie for *domain* to *host*."""
    host, domain = host.lower(), domain.lower().removeprefix(".")
    return host == domain or (host.endswith("." + domain) and not is_valid_ip(host))


def _values(headers: Sequence[str], name: str) -> list[str]:
    """Return the values of all cookies *name*, unchanged but without double quotes around them.

    Tornado's parser keeps only the last of several, unescapes values, and strips bytes that are
    part of the name for browsers. Another host could use that to override the cookie.
    """
    begins = name + "="
    return [
        _unquoted(pair[len(begins) :])
        for header in headers
        for untrimmed in header.split(";")
        if (pair := untrimmed.strip(" \t")).startswith(begins)
    ]


def _unquoted(value: str) -> str:
    """Remove double quotes around a value; they are not part of it (RFC 6265, 4.1.1)."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
