"""The session cookie: read strictly from the raw header, written as one policy says."""

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
MAX_VERIFIED: Final = 200  # of too many cookies, for a logout; browsers keep no more for a host
HOST_PREFIX: Final = "__Host-"
SECURE_PREFIX: Final = "__Secure-"
# The path and the domain are no longer than browsers read them (RFC 6265bis, 5.6).
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

    With `persist` the browser keeps the cookie for as long as the session can live if nobody uses
    it again (the manager's `Lifetimes`), and for the hour in which it can be told why the session
    ended. Without, the cookie ends with the browser. `login(user_id, remember=…)` decides it for
    one session. `secure` "auto" follows the request: over https the
    cookie is Secure and, when path and domain allow, its name gets the prefix `__Host-`, so that no
    other host can set it. `samesite` is "strict", "lax", "none", None (the cookie says nothing), or
    "auto": None over https, else Lax. What browsers take from a Secure cookie only, None and
    Partitioned, is not said over http. Behind a proxy that speaks TLS for the server, the manager's
    `trusted_proxies` say which requests came over https. Its `cookie` may also be a function of the
    request.
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
    # What does not change from response to response: the name and the attributes by `secure`.
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
        """The ids in the request's cookies of our name; at most four such cookies may be sent."""
        if self.refuses(request, https=https) is not None:
            return NOTHING_PRESENTED
        return self.ids_in(request.headers.get_list("Cookie"), keyring, now, https=https)

    def ids_in(
        self, headers: Sequence[str], keyring: Keyring, now: int, *, https: bool
    ) -> PresentedIds:
        """The ids in Cookie *headers*, by the same rules; the policy's path and domain aside."""
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
        """A Set-Cookie header for *session_id* that ends at a moment, or with the browser."""
        secure = self._is_secure(https=https)
        name = self._names[secure]
        value = keyring.sign(name, session_id, now)
        if expires_at is None:
            return f"{name}={value}{self._attributes[secure]}"
        max_age = max(0, -((now - expires_at) // 1_000_000))  # rounded up
        return f"{name}={value}; Max-Age={max_age}{self._attributes[secure]}"

    def clear(self, *, https: bool) -> str:
        """A Set-Cookie header that makes the browser forget our cookie."""
        secure = self._is_secure(https=https)
        ends = "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        return f"{self._names[secure]}={ends}{self._attributes[secure]}"

    def persists(self, remember: bool | None) -> bool:
        """Whether the cookie outlives the browser; *remember* is what the login was told."""
        return self.persist if remember is None else remember

    def refuses(self, request: HTTPServerRequest, *, https: bool) -> str | None:
        """Why the browser would not send a cookie of ours back to where this request went.

        Such a cookie is neither read nor sent. None when there is nothing in the way.
        """
        if self._always_comes_back:
            return None
        if (self.secure is True or self._is_prefixed) and not https:
            return (
                "browsers keep this cookie over https only, and the request came over http: if a "
                "proxy speaks TLS for this server, name it in the manager's trusted_proxies; else "
                'set secure="auto" and a name without __Host- and __Secure-'
            )
        if not _is_below(request.path, self.path):
            return (
                f"the cookie is for the path {self.path}, and the request is for another one: use "
                'sessions below that path only, or set path="/"; a proxy in front must pass on '
                "the path that the browser asked for"
            )
        if self.domain is not None and not _is_within(request.host_name, self.domain):
            return (
                f"the cookie is for the domain {self.domain}, and the request is for another "
                "host: set domain to the host or a parent of it, or to None; a proxy in front "
                "must pass on the Host header that the browser sent"
            )
        return None

    @property
    def _is_for_one_host(self) -> bool:
        return self.path == "/" and self.domain is None

    @property
    def _is_prefixed(self) -> bool:
        return self._has_prefix(HOST_PREFIX) or self._has_prefix(SECURE_PREFIX)

    def _has_prefix(self, prefix: str) -> bool:
        """Browsers do not look at the case of a prefix."""
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
    """The values of the cookies *name*, to the letter; double quotes around one are taken off.

    Tornado's parser keeps only the last of several, unescapes, and strips bytes that browsers count
    as part of a name, so that another host could slip in a cookie that wins.
    """
    begins = name + "="
    return [
        _unquoted(pair[len(begins) :])
        for header in headers
        for untrimmed in header.split(";")
        if (pair := untrimmed.strip(" \t")).startswith(begins)
    ]


def _unquoted(value: str) -> str:
    """A value in double quotes means the same as the value without them (RFC 6265, 4.1.1)."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
