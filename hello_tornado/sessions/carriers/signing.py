"""The application's secrets, and the session ids that they sign.

A signed id is Tornado's signed value, version 2. The signature says that we gave the id out;
whether the session lives, only the store knows.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, NamedTuple

from hello_tornado.sessions.carriers import signed_values
from hello_tornado.sessions.carriers.signed_values import Signer
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.records.ids import SessionId
from hello_tornado.sessions.records.lifetimes import MICROSECOND

# Browsers keep no cookie longer than 400 days (RFC 6265bis, 5.5); the store ends sessions earlier.
SIGNATURE_LASTS: Final = timedelta(days=400) // MICROSECOND
# Longer values carry no id of ours (ids.is_session_id, cookies.NAME).
MAX_LENGTH: Final = 512
REMEMBERED: Final = 2048  # values, of up to half a kilobyte
MIN_SECRET: Final = 16  # bytes; nobody guesses so many random ones
NEEDED: Final = (
    "sessions need the application setting cookie_secret: a random string of at least "
    f"{MIN_SECRET} bytes, for example from "
    'python -c "import secrets; print(secrets.token_urlsafe(64))"; or several of them, in a list '
    "or by version (whole numbers), to change it"
)


class SignedId(NamedTuple):
    """A session id that one of our secrets has signed: which one, and when."""

    session_id: SessionId
    key_version: int
    signed_at: int


class Keyring:
    """The secrets of an application: all of them verify, the one of version `current` signs.

    `is_versioned` when a value's own key version names its secret; else each may be the one. What
    it has said of a value it remembers for a while: a browser sends the same one with each request.
    """

    def __init__(self, signers: Mapping[int, Signer], current: int, *, is_versioned: bool) -> None:
        self._signers = signers
        self.current = current
        self._is_versioned = is_versioned
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._verify)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Keyring":
        """Tornado's own `cookie_secret`: a secret, or several.

        Of a mapping by version, Tornado's `key_version` signs, or else the highest; of a list, the
        first (Tornado's own signed cookies take no list).
        """
        match settings.get("cookie_secret"):
            case str() | bytes() as secret:
                return _keyring_of_one(secret)
            case dict() as several:
                secrets = tuple((version, _as_bytes(secret)) for version, secret in several.items())
                current = settings.get("key_version", max(several, default=0, key=_as_version))
                return _keyring(secrets, current, is_versioned=True)
            case list() | tuple() as several:
                return _keyring(tuple(enumerate(map(_as_bytes, several))), 0, is_versioned=False)
        raise ConfigurationError(NEEDED)

    def sign(self, name: str, session_id: SessionId, now: int) -> str:
        """*session_id* as the value of a cookie, or of whatever else is called *name*."""
        version = self.current if self._is_versioned else 0
        signer = self._signers[self.current]
        return signed_values.create(signer, version, name, session_id, now // 1_000_000)

    def verify(self, name: str, text: str, now: int) -> SignedId | None:
        """The id in a value, if one of our secrets has signed it for that name."""
        if len(text) > MAX_LENGTH:
            return None
        signed = self._remembered(name, text)
        return signed if signed is not None and signed.signed_at >= now - SIGNATURE_LASTS else None

    def _verify(self, name: str, text: str) -> SignedId | None:
        found = signed_values.parse(name, text)
        if found is None:
            return None
        for version, signer in self._signers.items():
            is_meant = not self._is_versioned or version == found.key_version
            if is_meant and found.is_signed_by(signer):
                value, when = found.value, found.seconds * 1_000_000
                return None if value is None else SignedId(SessionId(value), version, when)
        return None

    def is_current(self, signed: SignedId) -> bool:
        """Whether the secret that signs today has signed this."""
        return signed.key_version == self.current


@lru_cache(maxsize=16)
def _keyring_of_one(secret: str | bytes) -> Keyring:
    """The keyring of a single secret, cached because every request asks for it."""
    return _keyring(((0, secret),), 0, is_versioned=False)


@lru_cache(maxsize=16)
def _keyring(
    secrets: tuple[tuple[int, str | bytes], ...], current: int, *, is_versioned: bool
) -> Keyring:
    signers = {version: Signer(_as_bytes(secret)) for version, secret in secrets}
    if not signers:
        raise ConfigurationError(NEEDED)
    if current not in signers:
        raise ConfigurationError(f"key_version {current!r} names no secret in cookie_secret")
    return Keyring(signers, current, is_versioned=is_versioned)


def _as_version(version: object) -> int:
    if type(version) is not int:
        raise ConfigurationError(NEEDED)
    return version


def _as_bytes(secret: object) -> bytes:
    match secret:
        case str():
            with suppress(UnicodeEncodeError):  # a lone surrogate
                return _as_bytes(secret.encode())
        case bytes() if len(secret) >= MIN_SECRET:
            return secret
    raise ConfigurationError(NEEDED)
