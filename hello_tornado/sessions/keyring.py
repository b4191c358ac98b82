"""The application's secrets, and the session ids that they sign.

A signed id is Tornado's signed value, version 2. The signature says that we gave the id out;
whether the session lives, only the store knows.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from tornado.web import create_signed_value, decode_signed_value, get_signature_key_version

from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.ids import SessionId

Secret: TypeAlias = str | bytes
Versions: TypeAlias = dict[int, str] | dict[int, bytes]

# Browsers keep no cookie longer than this (RFC 6265bis, 5.5); the store ends sessions earlier.
SIGNATURE_DAYS: Final = 400
# What a signed value is made of; it repeats the name that it was signed for (cookies.NAME).
VALUE: Final = re.compile(r"[A-Za-z0-9|:=/!#$%&'*+.^_`~-]{1,512}")
NEEDED: Final = (
    "sessions need the application setting cookie_secret: a random string, for example from "
    'python -c "import secrets; print(secrets.token_urlsafe(64))"; or several, to change it'
)


class SignedId(NamedTuple):
    """A session id that one of our secrets has signed: which one, and when."""

    session_id: SessionId
    key_version: int | None
    signed_at: int


class Keyring(NamedTuple):
    """The secrets of an application: all of them verify, the one of version `current` signs."""

    secrets: Sequence[Secret | Versions]
    current: int | None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Keyring":
        """Tornado's own `cookie_secret`: a secret, or several.

        Of a mapping by version, Tornado's `key_version` signs, or else the highest; of a list, the
        first (Tornado's own signed cookies take no list).
        """
        given = settings.get("cookie_secret")
        several: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
        each = list(given.values()) if isinstance(given, dict) else several
        if not each or not all(isinstance(secret, str | bytes) and secret for secret in each):
            raise ConfigurationError(NEEDED)
        if not isinstance(given, dict):
            return cls(several, None if several == [given] else 0)
        current = settings.get("key_version", max(given))
        if current not in given:
            raise ConfigurationError(f"key_version {current!r} names no secret in cookie_secret")
        return cls([given], current)

    def sign(self, name: str, session_id: SessionId, now: int) -> str:
        """*session_id* as the value of a cookie, or of whatever else is called *name*."""
        signed = create_signed_value(
            self.secrets[0],
            name,
            session_id,
            version=2,
            clock=lambda: now / 1e6,
            key_version=self.current if isinstance(self.secrets[0], dict) else None,
        )
        return signed.decode("ascii")

    def verify(self, name: str, value: str, now: int) -> SignedId | None:
        """The id in a value, if one of our secrets has signed it for that name."""
        if VALUE.fullmatch(value) is None:
            return None
        for place, secret in enumerate(self.secrets):
            decoded = decode_signed_value(
                secret,
                name,
                value,
                max_age_days=SIGNATURE_DAYS,
                clock=lambda: now / 1e6,
                min_version=2,
            )
            if decoded is not None and decoded.isascii():
                signed_at = int(value.split("|", 3)[2].partition(":")[2])
                version = get_signature_key_version(value) if isinstance(secret, dict) else place
                return SignedId(SessionId(decoded.decode("ascii")), version, signed_at * 1_000_000)
        return None

    def is_current(self, signed: SignedId) -> bool:
        """Whether the secret that signs today has signed this."""
        return signed.key_version == (self.current or 0)
