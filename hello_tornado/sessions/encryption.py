"""Encryption at rest with AES-256-GCM and keys that can be rotated.

Sealed data consists of a version byte, 4 bytes that identify the key, a nonce of 12 bytes, the
ciphertext and the tag. Each record is encrypted with a separate key, derived from the encryption
key and the record's key by HMAC-SHA256. So the limit of 2^32 random nonces applies to each session
and not to all together (NIST SP 800-38D, 8.3).

All fields of a record are authenticated with its data: key, handle, version, user and the three
times. Data that was copied to another row is refused, and so is a row with another user, another
handle or a later expiry. A touch changes times, so with a cipher it seals the data again and is
saved like any other change. Someone who can write to the store can still restore an older state of
the same row or a deleted row; both expire when they would have expired before.
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
    """Return a new key for `AesGcm`: 256 random bits as base64 text, for settings."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")


def _key(name: str, given: Any) -> bytes:
    """Return the 32 bytes of an encryption key. Error messages do not contain them."""
    try:
        key = base64.urlsafe_b64decode(given) if isinstance(given, str) else given
    except ValueError:  # not base64, or not even ASCII
        key = b""
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"{name} must be an encryption key: {KEY_BYTES} bytes, or the same in base64; create "
            "one with hello_tornado.sessions.encryption.new_encryption_key()"
        )
    return key


class AesGcm:
    """Encrypts sessions: `SessionManager(store, cipher=AesGcm([new_key, old_key]))`.

    A session is encrypted again whenever it is saved or touched. To rotate keys, put a new one
    first, and remove the old one when the longest lifetime has passed. User ids and times are not
    encrypted, because the store finds sessions by them.

    Args:
        keys: Keys of 32 bytes, or in base64 (`new_encryption_key()`). The first one encrypts; all
            of them decrypt.
        accept_plain: Also read sessions that were stored without encryption (False). Use it only
            while such sessions exist, because anyone who can write to the database can then forge
            sessions.

    Raises:
        ConfigurationError: There is no key, or one is invalid.

    """

    @options.checked(keys=options.several(_key), accept_plain=options.flag)
    def __init__(self, keys: Sequence[str | bytes], *, accept_plain: bool = False) -> None:
        if not keys:
            raise ConfigurationError("encryption needs at least one key; the first one encrypts")
        checked = cast("Sequence[bytes]", keys)
        self._keys = {_name_of(key): key for key in checked}
        self._current = next(iter(self._keys))
        self._accept_plain = accept_plain

    def seal(self, record: SessionRecord, /) -> SessionRecord:
        """Return the record with its data encrypted."""
        head = VERSION + self._current
        nonce = secrets.token_bytes(NONCE_BYTES)
        cipher = AESGCM(_derived(self._keys[self._current], record.key))
        sealed = head + nonce + cipher.encrypt(nonce, record.data, _bound(head, record))
        return record._replace(data=sealed)

    def open(self, record: SessionRecord, /) -> bytes:
        """Return the decrypted data of a record.

        Raises `SerializationError` if no key fits or the record was changed or moved.
        """
        sealed = record.data
        if self._accept_plain and sealed[:1] == b"{":
            return sealed
        head, nonce = sealed[:HEAD_BYTES], sealed[HEAD_BYTES : HEAD_BYTES + NONCE_BYTES]
        ours = self._keys.get(head[len(VERSION) :]) if head.startswith(VERSION) else None
        if ours is None:
            raise SerializationError("the session data was not encrypted with any of these keys")
        try:
            cipher = AESGCM(_derived(ours, record.key))
            return cipher.decrypt(nonce, sealed[HEAD_BYTES + NONCE_BYTES :], _bound(head, record))
        except (InvalidTag, ValueError):
            raise SerializationError("the session record was changed or moved") from None


def _name_of(key: bytes) -> bytes:
    return hmac.digest(key, b"name of the key", "sha256")[:NAME_BYTES]


def _derived(key: bytes, record: SessionKey) -> bytes:
    return hmac.digest(key, b"session " + record, "sha256")


def _bound(head: bytes, record: SessionRecord) -> bytes:
    """Return all fields except the data, which is encrypted, and the key, which derives the key."""
    _key, handle, version, user_id, _data, *times = record
    return head + json.dumps([handle, version, user_id, *times]).encode()
