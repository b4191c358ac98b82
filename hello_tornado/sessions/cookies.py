"""The session cookie: read strictly from the raw header, written with the attributes of one policy.

The value is Tornado's signed value, version 2, of the session id. The signature says that we gave
the id out; whether the session lives, only the store knows.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from tornado.httputil import HTTPServerRequest
from tornado.web import create_signed_value, decode_signed_value, get_signature_key_version

from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.ids import SessionId
from hello_tornado.sessions.lifetimes import MaxAge, datetime_of

Secret: TypeAlias = str | bytes | dict[int, str] | dict[int, bytes]

# Browsers keep no cookie longer than this (RFC 6265bis, 5.5); the store ends sessions earlier.
SIGNATURE_DAYS: Final = 400
MAX_CANDIDATES: Final = 4
VALUE: Final = re.compile(r"[A-Za-z0-9|:=+/_-]{1,512}")
NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
# Printable ASCII without ";", and no longer than browsers read (RFC 6265bis, 5.6).
ATTRIBUTE: Final = re.compile(r"[\x20-\x3a\x3c-\x7e]{1,1024}")
HOST_PREFIX: Final = "__Host-"
SECURE_PREFIX: Final = "__Secure-"


class Keyring(NamedTuple):
    """The secrets of an application: all of them verify, `current` signs."""

    secret: Secret
    current: int | None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Keyring":
        """Tornado's own `cookie_secret` and `key_version`; the highest version if that is unset."""
        secret = settings.get("cookie_secret")
        if not secret:
            raise ConfigurationError(
                "sessions need the application setting cookie_secret: a random string, for example "
                'from python -c "import secrets; print(secrets.token_urlsafe(64))"'
            )
        if not isinstance(secret, dict):
            return cls(secret, None)
        current = settings.get("key_version", max(secret))
        if current not in secret:
            raise ConfigurationError(f"key_version {current!r} names no secret in cookie_secret")
        return cls(secret, current)

    def sign(self, name: str, session_id: SessionId, now: int) -> str:
        """The value of a cookie *name* that carries *session_id*."""
        signed = create_signed_value(
            self.secret,
            name,
            session_id,
            version=2,
            clock=lambda: now / 1e6,
            key_version=self.current,
        )
        return signed.decode("ascii")

    def verify(self, name: str, value: str, now: int) -> "SignedId | None":
        """The id in a cookie's value, if one of our secrets has signed it for that name."""
        if VALUE.fullmatch(value) is None:
            return None
        decoded = decode_signed_value(
            self.secret,
            name,
            value,
            max_age_days=SIGNATURE_DAYS,
            clock=lambda: now / 1e6,
            min_version=2,
        )
        if decoded is None or not decoded.isascii():
            return None
        version = get_signature_key_version(value) if self.current is not None else None
        signed_at = int(value.split("|", 3)[2].partition(":")[2])
        return SignedId(SessionId(decoded.decode("ascii")), version, signed_at * 1_000_000)


class SignedId(NamedTuple):
    """A session id that came in a cookie of ours, and when and with which secret it was signed."""

    session_id: SessionId
    key_version: int | None
    signed_at: int


class CookieReading(NamedTuple):
    """What the cookies of a request say: the different ids that verify, or why there is none."""

    signed: tuple[SignedId, ...] = ()
    rejected: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CookiePolicy:
    """The name and the attributes of the session cookie.

    `max_age` None makes a cookie that ends with the browser, unless it `expires` at a moment (an
    aware datetime; then without `max_age`). `secure` "auto" follows the request: over https the
    cookie is Secure and, when path and domain allow, its name gets the prefix `__Host-`, so that no
    other host can set it. `same_site` True is Strict, False says nothing, and "auto" is None when
    secure, else Lax. What browsers take from a Secure cookie only, None and Partitioned, is not
    said over http. An application's `session_cookie` may also be a function of the request.
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

    def __post_init__(self) -> None:
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

    def read(self, request: HTTPServerRequest, keyring: Keyring, now: int) -> CookieReading:
        """The ids in the request's cookies of our name; at most four such cookies may be sent."""
        name = self._name_for(request)
        values = list(_cookies(request, name))
        if not values:
            return CookieReading()
        if len(values) > MAX_CANDIDATES:
            return CookieReading(rejected="too many")
        verified = (keyring.verify(name, value, now) for value in dict.fromkeys(values))
        signed = {found.session_id: found for found in verified if found is not None}
        return CookieReading(tuple(signed.values()), None if signed else "not ours")

    def issue(
        self,
        request: HTTPServerRequest,
        keyring: Keyring,
        session_id: SessionId,
        max_age: MaxAge | None,
        now: int,
    ) -> str:
        """A Set-Cookie header for *session_id*; *max_age* is the session's own, if it has one."""
        lifetime = self.lasts(now, max_age)
        value = keyring.sign(self._name_for(request), session_id, now)
        seconds = None if lifetime is None else max(0, math.ceil(lifetime.total_seconds()))
        ends = [] if seconds is None else [f"Max-Age={seconds}"]
        return self._header(request, value, ends)

    def clear(self, request: HTTPServerRequest) -> str:
        """A Set-Cookie header that makes the browser forget our cookie."""
        return self._header(request, "", ["Max-Age=0", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"])

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

    @property
    def _is_for_one_host(self) -> bool:
        return self.path == "/" and self.domain is None

    def _is_secure_for(self, request: HTTPServerRequest) -> bool:
        return request.protocol == "https" if self.secure == "auto" else self.secure

    def _name_for(self, request: HTTPServerRequest) -> str:
        prefixed = self.name.startswith((HOST_PREFIX, SECURE_PREFIX))
        if self._is_for_one_host and not prefixed and self._is_secure_for(request):
            return HOST_PREFIX + self.name
        return self.name

    def _header(self, request: HTTPServerRequest, value: str, ends: list[str]) -> str:
        secure = self._is_secure_for(request)
        parts = [f"{self._name_for(request)}={value}", *ends, f"Path={self.path}"]
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


def _cookies(request: HTTPServerRequest, name: str) -> Iterator[str]:
    """The values of the cookies *name*, to the letter.

    Tornado's parser keeps only the last of several, unquotes, and strips bytes that browsers count
    as part of a name, so that another host could slip in a cookie that wins.
    """
    for header in request.headers.get_list("Cookie"):
        for pair in header.split(";"):
            found, equals, value = pair.strip(" \t").partition("=")
            if equals and found == name:
                yield value
