"""Encryption at rest: AES-256-GCM, under keys that can be changed without losing a session.

Sealed data is a version byte, 4 bytes that name the key, 12 of nonce, then ciphertext and tag. Each
record has a key of its own, made of ours and the record's (HMAC-SHA256), so that random nonces last
for 2^32 writes of each session and not of all together (NIST SP 800-38D, 8.3).

All fields of a record are authenticated with its data: key, handle, version, user and the three
times. Data that is copied to another row is refused, and so is a row with another user, another
handle or a longer life. A touch changes times, so with a cipher it seals the data again and is
saved like any other change. A writer of the store can still put back an older state of the same
row, or a row that was deleted; neither lives longer than it would have lived then.
"""

import base64
import hmac
import json
import secrets
from collections.abc import Sequence
from typing import Any, Final, cast

from hello_tornado.sessions import options
from hello_tornado.sessions.errors import ConfigurationError, SerializationError
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import SessionRecord

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ModuleNotFoundError as missing:
    raise ConfigurationError(
        "encryption needs the package cryptography: pip install 'hello-tornado[encryption]'"
    ) from missing

VERSION: Final = b"\x02"
KEY_BYTES: Final = 32
NAME_BYTES: Final = 4
NONCE_BYTES: Final = 12
HEAD_BYTES: Final = len(VERSION) + NAME_BYTES


def new_encryption_key() -> str:
    """256 random bits as text, for a settings file or the environment."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")


def _key(name: str, given: Any) -> bytes:
    """The 32 bytes of an encryption key. They never reach a message."""
    try:
        key = base64.urlsafe_b64decode(given) if isinstance(given, str) else given
    except ValueError:  # not base64, or not even ASCII
        key = b""
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"{name} must be an encryption key: {KEY_BYTES} bytes, or those as base64; make one "
            "with hello_tornado.sessions.encryption.new_encryption_key()"
        )
    return key


class AesGcm:
    """The cipher of a manager: `SessionManager(store, cipher=AesGcm([new_key, old_key]))`.

    Keys are 32 bytes, or those as base64 (`new_encryption_key()`): the first one seals, all of them
    open. A session is sealed again whenever it is saved or touched; drop an old key when the
    longest lifetime has passed. *accept_plain* also reads what was stored before there was
    encryption. Use it only for as long: it lets anybody who can write to the database make up
    sessions. Users' names and times are not encrypted, because the store finds sessions by them.
    """

    @options.checked(keys=options.several(_key), accept_plain=options.flag)
    def __init__(self, keys: Sequence[str | bytes], *, accept_plain: bool = False) -> None:
        if not keys:
            raise ConfigurationError("encryption needs a list of keys; the first one seals")
        checked = cast("Sequence[bytes]", keys)
        self._keys = {_name_of(key): key for key in checked}
        self._current = next(iter(self._keys))
        self._accept_plain = accept_plain

    def seal(self, record: SessionRecord, /) -> SessionRecord:
        """The record with its data encrypted."""
        head = VERSION + self._current
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = AESGCM(_derived(self._keys[self._current], record.key))
        sealed = head + nonce + cipher.encrypt(nonce, record.data, _bound(head, record))
        return record._replace(data=sealed)

    def open(self, record: SessionRecord, /) -> bytes:
        """The data of a sealed record, decrypted."""
        sealed = record.data
        if self._accept_plain and sealed[:1] == b"{":
            return sealed
        head, nonce = sealed[:HEAD_BYTES], sealed[HEAD_BYTES : HEAD_BYTES + NONCE_BYTES]
        ours = self._keys.get(head[len(VERSION) :]) if head.startswith(VERSION) else None
        if ours is None:
            raise SerializationError("session data that none of our encryption keys has sealed")
        try:
            cipher = AESGCM(_derived(ours, record.key))
            return cipher.decrypt(nonce, sealed[HEAD_BYTES + NONCE_BYTES :], _bound(head, record))
        except (InvalidTag, ValueError):
            raise SerializationError("a session record that was changed, or moved") from None


def _name_of(key: bytes) -> bytes:
    return hmac.digest(key, b"name of the key", "sha256")[:NAME_BYTES]


def _derived(key: bytes, record: SessionKey) -> bytes:
    return hmac.digest(key, b"session " + record, "sha256")


def _bound(head: bytes, record: SessionRecord) -> bytes:
    """Every field of the record but the data, which is sealed, and the key, which derives ours."""
    _key, handle, version, user_id, _data, *times = record
    return head + json.dumps([handle, version, user_id, *times]).encode()
