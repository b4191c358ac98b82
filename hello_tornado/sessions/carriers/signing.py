"""The application's secrets, and the signatures of session ids.

A signed id is a signed value of Tornado, version 2. The signature proves that this application
issued the id. Only the store knows whether the session still exists.
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

# Browsers keep no cookie longer than 400 days (RFC 6265bis, 5.5). Sessions end earlier.
SIGNATURE_LASTS: Final = timedelta(days=400) // MICROSECOND
# Longer values cannot be signed ids (ids.is_session_id, cookies.CHECKS).
MAX_LENGTH: Final = 512
REMEMBERED: Final = 2048  # values, of up to half a kilobyte
MIN_SECRET: Final = 16  # bytes; if random, they cannot be guessed
NEEDED: Final = (
    "sessions need the application setting cookie_secret: a random string of at least "
    f"{MIN_SECRET} bytes, for example from "
    'python -c "import secrets; print(secrets.token_urlsafe(64))"; to change it, set several, in a '
    "list or in a dict by version (a whole number)"
)


class SignedId(NamedTuple):
    """A session id with a valid signature.

    - `session_id`: the id.
    - `key_version`: the version of the secret that signed it.
    - `signed_at`: when it was signed, in microseconds since 1970.
    """

    session_id: SessionId
    key_version: int
    signed_at: int


class Keyring:
    """The secrets of an application: all of them verify, one of them signs.

    The results for the latest values are cached, because browsers send the same value with each
    request.

    Args:
        signers: The secrets by version.
        current: The version of the secret that signs.
        is_versioned: Whether a value contains the version of its secret; otherwise all secrets are
            tried.

    """

    def __init__(self, signers: Mapping[int, Signer], current: int, *, is_versioned: bool) -> None:
        self._signers = signers
        self.current = current
        self._is_versioned = is_versioned
        self._remembered = lru_cache(maxsize=REMEMBERED)(self._verify)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Keyring":
        """Return the keyring of an application's *settings*.

        The setting `cookie_secret` is a secret, a dict of secrets by version, or a list of secrets.
        In a dict, the version in the setting `key_version` signs, or else the highest; in a list,
        the first. (Tornado's own signed cookies do not support lists.)

        Raises:
            ConfigurationError: There is no secret, or one is not a str or bytes of at least 16
                bytes.

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
        """Return *session_id* as a signed value for the cookie or header *name*."""
        version = self.current if self._is_versioned else 0
        signer = self._signers[self.current]
        return signed_values.create(signer, version, name, session_id, now // 1_000_000)

    def verify(self, name: str, text: str, now: int) -> SignedId | None:
        """Return the id in a value, or None if its signature for *name* is invalid or too old."""
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
        """Whether the secret that signs now has signed this id."""
        return signed.key_version == self.current


@lru_cache(maxsize=16)
def _keyring_of_one(secret: str | bytes) -> Keyring:
    """Return the keyring of a single secret; cached because each request needs it."""
    return _keyring(((0, secret),), 0, is_versioned=False)


@lru_cache(maxsize=16)
def _keyring(
    secrets: tuple[tuple[int, str | bytes], ...], current: int, *, is_versioned: bool
) -> Keyring:
    signers = {version: Signer(_as_bytes(secret)) for version, secret in secrets}
    if not signers:
        raise ConfigurationError(NEEDED)
    if current not in signers:
        raise ConfigurationError(f"cookie_secret has no secret for key_version {current!r}")
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
