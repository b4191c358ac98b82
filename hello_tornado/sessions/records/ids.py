"""The three names of a session: the secret id, its hash, and a handle that may be shown.

The id lives only in the cookie, the key only in the store: who reads the store cannot make a
cookie, and mypy keeps the two apart. The handle is for pages, logs and the command line.
"""

import hashlib
import re
import secrets
from typing import NewType

SessionId = NewType("SessionId", str)
SessionKey = NewType("SessionKey", bytes)


def new_session_id() -> SessionId:
    """216 random bits as 36 characters that are safe in a cookie and in a URL.

    Base64 of 36 characters has no padding, so the signed value has no "=": clients that quote a
    cookie value with a "=" in it (Python's http.cookies, aiohttp) send this one as it is.
    """
    return SessionId(secrets.token_urlsafe(27))


def is_session_id(given: object) -> bool:
    """Whether *given* can be an id: 22 to 128 printable characters, enough for 128 random bits."""
    return isinstance(given, str) and re.fullmatch(r"[\x21-\x7e]{22,128}", given) is not None


def key_of(session_id: SessionId) -> SessionKey:
    """The SHA-256 of an id, 32 bytes: the only form of it that a store ever sees."""
    return SessionKey(hashlib.sha256(session_id.encode()).digest())


def new_handle() -> str:
    """80 random bits as 20 hexadecimal digits; says nothing about the id."""
    return secrets.token_hex(10)


def is_handle(given: str) -> bool:
    """Whether *given* can be a handle: 20 hexadecimal digits."""
    return re.fullmatch("[0-9a-f]{20}", given) is not None
