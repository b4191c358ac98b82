"""The three identifiers of a session: the secret id, its hash (the key) and the public handle.

Only the cookie has the id and only the store has the key, so reading the store does not suffice to
make a cookie. The two have different types, so mypy finds a mix-up. Pages, logs and the command
line show the handle.
"""

import hashlib
import re
import secrets
from typing import NewType

SessionId = NewType("SessionId", str)
SessionKey = NewType("SessionKey", bytes)


def new_session_id() -> SessionId:
    """Return 216 random bits as 36 characters that are safe in a cookie and in a URL.

    Base64 of 36 characters has no padding, so the signed value contains no "=". Some clients
    (Python's http.cookies, aiohttp) put quotes around a cookie value that contains a "=".
    """
    return SessionId(secrets.token_urlsafe(27))


def is_session_id(given: object) -> bool:
    """Whether *given* can be an id: 22 to 128 printable characters, enough for 128 random bits."""
    return isinstance(given, str) and re.fullmatch(r"[\x21-\x7e]{22,128}", given) is not None


def key_of(session_id: SessionId) -> SessionKey:
    """Return the SHA-256 of an id, 32 bytes. Stores get this key and never the id."""
    return SessionKey(hashlib.sha256(session_id.encode()).digest())


def new_handle() -> str:
    """Return 80 random bits as 20 hexadecimal digits. They are independent of the id."""
    return secrets.token_hex(10)


def is_handle(given: str) -> bool:
    """Whether *given* can be a handle: 20 hexadecimal digits."""
    return re.fullmatch("[0-9a-f]{20}", given) is not None
