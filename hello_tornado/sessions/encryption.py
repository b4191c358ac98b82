"""Encryption at rest: AES-256-GCM, under keys that can be changed without losing a session.

Sealed data is a version byte, 4 bytes that name the key, 12 of nonce, then ciphertext and tag. Each
record has a key of its own, made of ours and the record's (HMAC-SHA256), so that random nonces last
for 2^32 writes of each session and not of all together (NIST SP 800-38D, 8.3). A record's key and
user are authenticated with its data: what is copied to another row, or given another user, is void.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from hello_tornado.sessions.errors import ConfigurationError, SerializationError
from hello_tornado.sessions.ids import SessionKey

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ModuleNotFoundError as missing:
    raise ConfigurationError(
        "encryption needs the package cryptography: pip install 'hello-tornado[encryption]'"
    ) from missing

VERSION: Final = b"\x01"
KEY_BYTES: Final = 32
NAME_BYTES: Final = 4
NONCE_BYTES: Final = 12
HEAD_BYTES: Final = len(VERSION) + NAME_BYTES


def new_encryption_key() -> str:
    """256 random bits as text, for a settings file or the environment."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")


class AesGcm:
    """The cipher of a manager: `SessionManager(store, cipher=AesGcm([new_key, old_key]))`.

    Keys are 32 bytes, or those as base64 (`new_encryption_key()`): the first one seals, all of them
    open. A session is sealed anew whenever it is stored; drop an old key when the absolute timeout
    has passed. *accept_plain* also reads what was stored before there was encryption; use it only
    for as long, for then whoever writes to the database can make up sessions. Users' names are not
    encrypted, for the store finds sessions by them.
    """

    def __init__(self, keys: Sequence[str | bytes], *, accept_plain: bool = False) -> None:
        if isinstance(keys, str | bytes) or not keys:
            raise ConfigurationError("encryption needs a list of keys; the first one seals")
        self._keys = {_name_of(key): key for key in map(_key_bytes, keys)}
        self._current = next(iter(self._keys))
        self._accept_plain = accept_plain

    def seal(self, data: bytes, key: SessionKey, user_id: str | None, /) -> bytes:
        """*data*, encrypted."""
        head = VERSION + self._current
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = AESGCM(_derived(self._keys[self._current], key))
        return head + nonce + cipher.encrypt(nonce, data, _bound(head, user_id))

    def open(self, sealed: bytes, key: SessionKey, user_id: str | None, /) -> bytes:
        """The data, decrypted."""
        if self._accept_plain and sealed[:1] == b"{":
            return sealed
        head, nonce = sealed[:HEAD_BYTES], sealed[HEAD_BYTES : HEAD_BYTES + NONCE_BYTES]
        ours = self._keys.get(head[len(VERSION) :]) if head.startswith(VERSION) else None
        if ours is None:
            raise SerializationError("session data that none of our encryption keys has sealed")
        try:
            cipher = AESGCM(_derived(ours, key))
            return cipher.decrypt(nonce, sealed[HEAD_BYTES + NONCE_BYTES :], _bound(head, user_id))
        except (InvalidTag, ValueError):
            raise SerializationError("session data that was changed, or moved") from None


def _key_bytes(given: str | bytes) -> bytes:
    try:
        key = base64.urlsafe_b64decode(given) if isinstance(given, str) else given
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"an encryption key is {KEY_BYTES} bytes, or those as base64; make one with "
            "hello_tornado.sessions.encryption.new_encryption_key()"
        )
    return key


def _name_of(key: bytes) -> bytes:
    return hmac.digest(key, b"name of the key", "sha256")[:NAME_BYTES]


def _derived(key: bytes, record: SessionKey) -> bytes:
    return hmac.digest(key, b"session " + record, "sha256")


def _bound(head: bytes, user_id: str | None) -> bytes:
    return head if user_id is None else head + b"user " + user_id.encode(errors="surrogatepass")
