"""What stands between a session's bytes and the store: nothing, or encryption."""

from typing import Protocol

from hello_tornado.sessions.ids import SessionKey


class Cipher(Protocol):
    """Seals data for one record: in the store it can be neither read nor moved to another."""

    def seal(self, data: bytes, key: SessionKey, user_id: str | None, /) -> bytes:
        """*data* as the store may have it, in the record of this key and user."""

    def open(self, sealed: bytes, key: SessionKey, user_id: str | None, /) -> bytes:
        """The data again; `SerializationError` when it was not sealed for this key and user."""


class Plain:
    """No encryption: the store holds the data as it is."""

    def seal(self, data: bytes, _key: SessionKey, _user_id: str | None, /) -> bytes:
        """*data* itself."""
        return data

    def open(self, sealed: bytes, _key: SessionKey, _user_id: str | None, /) -> bytes:
        """The data itself."""
        return sealed
