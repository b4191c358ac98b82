"""What stands between a session's record and the store: nothing, or encryption."""

from typing import Protocol

from hello_tornado.sessions.record import SessionRecord


class Cipher(Protocol):
    """Encrypts the data of records, bound to the record it belongs to.

    A record is sealed again whenever one of its fields changes, also when it is only touched.
    """

    def seal(self, record: SessionRecord, /) -> SessionRecord:
        """The record as the store may have it: its data encrypted, all other fields as they are."""

    def open(self, record: SessionRecord, /) -> bytes:
        """The data of a sealed record.

        `SerializationError` when the data was not sealed for exactly this record.
        """


class Plain:
    """No encryption: the store holds the record as it is."""

    def seal(self, record: SessionRecord, /) -> SessionRecord:
        """The record itself."""
        return record

    def open(self, record: SessionRecord, /) -> bytes:
        """The data itself."""
        return record.data
