"""The session cookie: read strictly from the raw header, written as one policy says."""

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Final, Literal

from tornado.httputil import HTTPServerRequest

from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.ids import SessionId
from hello_tornado.sessions.keyring import Keyring
from hello_tornado.sessions.lifetimes import MaxAge, datetime_of
from hello_tornado.sessions.links import address_of, is_https, networks
from hello_tornado.sessions.transport import NOTHING_PRESENTED, Reading

MAX_CANDIDATES: Final = 4
MAX_VERIFIED: Final = 200  # of too many cookies, for a logout; browsers keep no more for a host
NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
# Printable ASCII without ";", and no longer than browsers read (RFC 6265bis, 5.6).
ATTRIBUTE: Final = re.compile(r"[\x20-\x3a\x3c-\x7e]{1,1024}")
WORDS: Final = {
    "secure": (True, False, "auto"),
    "same_site": (True, False, "strict", "lax", "none", "auto"),
    "priority": (None, "low", "medium", "high"),
    "proxy": (None, True, False),
}
HOST_PREFIX: Final = "__Host-"
SECURE_PREFIX: Final = "__Secure-"


@dataclass(frozen=True, slots=True, kw_only=True)
class CookiePolicy:
    """The name and the attributes of the session cookie.

    `max_age` None makes a cookie that ends with the browser, unless it `expires` at a moment (an
    aware datetime; then without `max_age`). `secure` "auto" follows the request: over https the
    cookie is Secure and, when path and domain allow, its name gets the prefix `__Host-`, so that no
    other host can set it. `same_site` True is Strict, False says nothing, and "auto" is None when
    secure, else Lax. What browsers take from a Secure cookie only, None and Partitioned, is not
    said over http. An application's `session_cookie` may also be a function of the request.

    Which requests came over https, behind a proxy that speaks TLS for the server, `proxy` says:
    True trusts the X-Forwarded-Proto of *proxies* (addresses or networks), False trusts nobody's,
    and None leaves it to Tornado.
    """

    name: str = "session"
    max_age: timedelta | None = timedelta(hours=1)
    expires: datetime | None = None
    http_only: bool = True
    secure: bool | Literal["auto"] = "auto"
    same_site: bool | Literal["lax", "strict", "none", "auto"] = "lax"
    domain: str | None = None
    path: str = "/"
    partitioned: bool = False
    priority: Literal["low", "medium", "high"] | None = None
    proxy: bool | None = None
    proxies: tuple[str, ...] = ()

    request_header: ClassVar[str] = "Cookie"
    response_header: ClassVar[str] = "Set-Cookie"

    def __post_init__(self) -> None:
        for name, words in WORDS.items():
            if (given := getattr(self, name)) not in words:
                raise ConfigurationError(f"a cookie's {name} is one of {words}, not {given!r}")
        if NAME.fullmatch(self.name) is None:
            raise ConfigurationError(f"a cookie cannot have the name {self.name!r}")
        if not self.path.startswith("/") or ATTRIBUTE.fullmatch(self.path) is None:
            raise ConfigurationError(f"a cookie's path begins with / and is short: {self.path!r}")
        if self.domain is not None and ATTRIBUTE.fullmatch(self.domain) is None:
            raise ConfigurationError(f"a cookie cannot have the domain {self.domain!r}")
        if self.max_age is not None and self.max_age < timedelta(seconds=1):
            raise ConfigurationError(
                "a cookie's max_age is at least a second; None for a browser's"
            )
        if self.expires is not None and self.expires.tzinfo is None:
            raise ConfigurationError("a cookie expires at an aware datetime; give it a tzinfo")
        if self.expires is not None and self.max_age is not None:
            raise ConfigurationError("a cookie has a max_age or expires; set max_age=None")
        if bool(self.proxies) != (self.proxy is True):
            raise ConfigurationError("proxy=True needs proxies, the addresses that it is true of")
        networks(self.proxies)
        self._check_what_browsers_refuse()

    def _check_what_browsers_refuse(self) -> None:
        if self.secure is False and self.same_site == "none":
            raise ConfigurationError('browsers refuse same_site "none" without secure')
        if self.secure is False and self.partitioned:
            raise ConfigurationError("browsers refuse partitioned without secure")
        if self.name.startswith(HOST_PREFIX) and not (self.secure and self._is_for_one_host):
            raise ConfigurationError("__Host- needs secure, the path / and no domain")
        if self.name.startswith(SECURE_PREFIX) and not self.secure:
            raise ConfigurationError("__Secure- needs secure")

    def read(self, request: HTTPServerRequest, keyring: Keyring, now: int) -> Reading:
        """The ids in the request's cookies of our name; at most four such cookies may be sent."""
        if self.refuses(request) is not None:
            return NOTHING_PRESENTED
        name = self._name(secure=self._is_secure_for(request))
        values = _values(request, name)
        if not values:
            return NOTHING_PRESENTED
        signed = {
            found.session_id: found
            for value in values[:MAX_VERIFIED]
            if (found := keyring.verify(name, value, now)) is not None
        }
        if len(values) > MAX_CANDIDATES:
            return Reading(tuple(signed.values()), "too many")
        return Reading(tuple(signed.values()), None if signed else "not ours")

    def issue(
        self,
        request: HTTPServerRequest,
        keyring: Keyring,
        session_id: SessionId,
        max_age: MaxAge | None,
        now: int,
    ) -> str:
        """A Set-Cookie header for *session_id*; *max_age* is the session's own, if it has one."""
        secure, lifetime = self._is_secure_for(request), self.lasts(now, max_age)
        value = keyring.sign(self._name(secure=secure), session_id, now)
        seconds = None if lifetime is None else max(0, math.ceil(lifetime.total_seconds()))
        ends = [] if seconds is None else [f"Max-Age={seconds}"]
        return self._header(value, ends, secure=secure)

    def clear(self, request: HTTPServerRequest) -> str:
        """A Set-Cookie header that makes the browser forget our cookie."""
        ends = ["Max-Age=0", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"]
        return self._header("", ends, secure=self._is_secure_for(request))

    def lasts(self, now: int, max_age: MaxAge | None = None) -> timedelta | None:
        """How long a cookie that is given out now lasts; None: until the browser is closed.

        *max_age* is the session's own, if it has one.
        """
        match max_age:
            case timedelta():
                return max_age
            case datetime():
                return max_age - datetime_of(now)
            case "browser":
                return None
        return self.max_age if self.expires is None else self.expires - datetime_of(now)

    def refuses(self, request: HTTPServerRequest) -> str | None:
        """Why no cookie of ours is read from this request or sent to it."""
        if self.secure is not True or self.is_https(request):
            return None
        return (
            "the cookie is secure and the request came over http: if a proxy speaks TLS for this "
            'server, name it in proxies and set proxy=True; else set secure="auto"'
        )

    @property
    def _is_for_one_host(self) -> bool:
        return self.path == "/" and self.domain is None

    def _is_secure_for(self, request: HTTPServerRequest) -> bool:
        return self.is_https(request) if self.secure == "auto" else self.secure

    def is_https(self, request: HTTPServerRequest) -> bool:
        """Whether the request came over https, as far as `proxy` lets us know."""
        return is_https(request, self.proxy, self.proxies)

    def address(self, request: HTTPServerRequest) -> str:
        """Whose request it is, as far as `proxy` lets us know."""
        return address_of(request, self.proxy, self.proxies)

    def _name(self, *, secure: bool) -> str:
        prefixed = self.name.startswith((HOST_PREFIX, SECURE_PREFIX))
        if secure and self._is_for_one_host and not prefixed:
            return HOST_PREFIX + self.name
        return self.name

    def _header(self, value: str, ends: list[str], *, secure: bool) -> str:
        parts = [f"{self._name(secure=secure)}={value}", *ends, f"Path={self.path}"]
        if self.domain is not None:
            parts.append(f"Domain={self.domain}")
        if self.http_only:
            parts.append("HttpOnly")
        if secure:
            parts.append("Secure")
        if same_site := self._same_site(secure=secure):
            parts.append(f"SameSite={same_site}")
        if self.partitioned and secure:
            parts.append("Partitioned")
        if self.priority is not None:
            parts.append(f"Priority={self.priority.title()}")
        return "; ".join(parts)

    def _same_site(self, *, secure: bool) -> str | None:
        match self.same_site:
            case False:
                return None
            case True:
                return "Strict"
            case "none" | "auto":
                return "None" if secure else "Lax"
            case word:
                return word.title()


def _values(request: HTTPServerRequest, name: str) -> list[str]:
    """The values of the cookies *name*, to the letter.

    Tornado's parser keeps only the last of several, unquotes, and strips bytes that browsers count
    as part of a name, so that another host could slip in a cookie that wins.
    """
    begins = name + "="
    return [
        pair[len(begins) :]
        for header in request.headers.get_list("Cookie")
        for untrimmed in header.split(";")
        if (pair := untrimmed.strip(" \t")).startswith(begins)
    ]
