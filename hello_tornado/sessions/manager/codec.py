"""Conversion of records to documents and back, including encryption and expiry."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from hello_tornado.sessions.errors import SerializationError, SessionTooLarge, SessionUnreadable
from hello_tornado.sessions.manager.committer import Commit, Committed, Standing
from hello_tornado.sessions.records.ids import SessionKey, new_handle
from hello_tornado.sessions.records.lifetimes import Lifetimes, OwnLifetime
from hello_tornado.sessions.records.record import SessionRecord
from hello_tornado.sessions.records.serializers import Serializer
from hello_tornado.sessions.records.tombstones import (
    ERA,
    Tombstone,
    read_tombstone,
    tombstone_key_of,
)
from hello_tornado.sessions.session.document import (
    Document,
    drop_replaced_expiries,
    empty_document,
    is_ours,
    lifetime_of,
    without_expired_keys,
)
from hello_tornado.sessions.session.draft import Renewal
from hello_tornado.sessions.session.operations import Update

BIGGEST_NAMED: Final = 3
NO_RENEWAL: Final = Renewal()


class Cipher(Protocol):
    """Encrypts the data of records and binds it to the other fields of its record.

    A record is sealed again whenever one of its fields changes, even if it is only touched.
    """

    def seal(self, record: SessionRecord, /) -> SessionRecord:
        """Return the record with its data encrypted and all other fields unchanged."""

    def open(self, record: SessionRecord, /) -> bytes:
        """Return the decrypted data of a sealed record.

        Raises `SerializationError` if the data was not sealed for exactly this record.
        """


class Plain:
    """No encryption: the store gets records unchanged."""

    def seal(self, record: SessionRecord, /) -> SessionRecord:
        """Return the record itself."""
        return record

    def open(self, record: SessionRecord, /) -> bytes:
        """Return the data itself."""
        return record.data


class Codec:
    """Reads records, and builds the new records for changes.

    Args:
        serializer: Converts documents to bytes.
        cipher: Encrypts the bytes.
        lifetimes: When sessions expire.
        max_bytes: The maximum size of a session's serialized data, in bytes.
        clock: Returns the present moment in microseconds since 1970.

    """

    def __init__(
        self,
        serializer: Serializer,
        cipher: Cipher,
        lifetimes: Lifetimes,
        max_bytes: int,
        clock: Callable[[], int],
    ) -> None:
        self._serializer = serializer
        self._cipher = cipher
        self.lifetimes = lifetimes
        self._max_bytes = max_bytes
        self.clock = clock

    def document(self, record: SessionRecord, now: int) -> Document:
        """Return the document in a record, without the keys that have expired by *now*.

        Raises `SessionUnreadable` if the data cannot be read.
        """
        try:
            stored = self._serializer.loads(self._cipher.open(record))
        except SerializationError as error:
            raise SessionUnreadable(str(error)) from error
        if not is_ours(stored):
            raise SessionUnreadable("the session data was written by another program")
        document = {
            "data": stored.get("data", {}),
            "meta": stored.get("meta", {}),
            "user_id": record.user_id,
        }
        return without_expired_keys(document, now)

    def create(self, key: SessionKey, changes: Update, base: Document | None = None) -> Committed:
        """Return the first record of a new session.

        Args:
            key: Its key.
            changes: The changes of the request.
            base: The document to which they are applied (an empty one).

        """
        now = self.clock()
        document = changes.apply(empty_document() if base is None else base)
        record = SessionRecord(
            key,
            new_handle(),
            1,
            document["user_id"],
            self._dumps(document),
            now,
            now,
            self._expires_at(now, now, document),
        )
        return Committed(self._cipher.seal(record), document)

    def rebuild(self, standing: Standing, commit: Commit) -> Committed:
        """Return the record that results from applying *commit* to *standing*."""
        current = standing.record
        now = self.clock()
        accessed_at = max(now, current.accessed_at)
        renewal = commit.renewal or NO_RENEWAL
        # Not the later `accessed_at`, which may come from a clock that was ahead: the new session
        # would begin in the future and would be refused.
        created_at = now if renewal.restart else current.created_at
        if standing.document is None:
            before = self.document(current, now)
        else:
            before = without_expired_keys(standing.document, now)
        document = commit.changes.apply(before)
        drop_replaced_expiries(before, document, commit.changes)
        key = commit.renewed_to or current.key
        record = SessionRecord(
            key,
            new_handle() if renewal.new_handle else current.handle,
            current.version + 1,
            document["user_id"],
            self._dumps(document),
            created_at,
            accessed_at,
            self._expires_at(created_at, accessed_at, document),
        )
        return Committed(self._cipher.seal(record), document)

    def touched(self, record: SessionRecord, own: OwnLifetime) -> SessionRecord:
        """Return *record* as used at this moment, by a session with the lifetime settings *own*.

        Without encryption the version stays the same, and `Store.touch` can write the record. A
        cipher authenticates the times, so the data is sealed again; this makes a new version, which
        `Store.save` must write.
        """
        now = max(self.clock(), record.accessed_at)
        expires_at = self.lifetimes.expires_at(record.created_at, now, own)
        later = record._replace(accessed_at=now, expires_at=max(expires_at, record.expires_at))
        if isinstance(self._cipher, Plain):
            return later
        return self._cipher.seal(
            later._replace(version=record.version + 1, data=self._cipher.open(record))
        )

    def tombstone(
        self, key: SessionKey, tombstone: Tombstone, remembered: int, version: int
    ) -> SessionRecord:
        """Return the record of a tombstone for the session key *key*.

        Args:
            key: The key of the session that ended.
            tombstone: The tombstone.
            remembered: How long it is kept, in microseconds.
            version: The version of the record.

        """
        ended_at = tombstone.ended_at - ERA
        record = SessionRecord(
            key=tombstone_key_of(key),
            handle=new_handle(),
            version=version,
            user_id=None,
            data=self._serializer.dumps(tombstone.document()),
            created_at=ended_at,
            accessed_at=ended_at,
            expires_at=ended_at + remembered,
        )
        return self._cipher.seal(record)

    def read_tombstone(self, record: SessionRecord) -> Tombstone | None:
        """Return the tombstone in *record*, or None if it has none or cannot be read."""
        try:
            return read_tombstone(self._serializer.loads(self._cipher.open(record)), record)
        except SerializationError:
            return None

    def _expires_at(self, created_at: int, accessed_at: int, document: Document) -> int:
        return self.lifetimes.expires_at(created_at, accessed_at, lifetime_of(document["meta"]))

    def _dumps(self, document: Document) -> bytes:
        stored = {name: document[name] for name in ("data", "meta") if document[name]}
        raw = self._serializer.dumps(stored)
        if len(raw) > self._max_bytes:
            raise SessionTooLarge(len(raw), self._max_bytes, self._biggest(document["data"]))
        return raw

    def _biggest(self, data: Mapping[str, Any]) -> Mapping[str, int]:
        sizes = {key: len(self._serializer.dumps({key: value})) for key, value in data.items()}
        biggest = sorted(sizes, key=lambda key: sizes[key], reverse=True)[:BIGGEST_NAMED]
        return {key: sizes[key] for key in biggest}
