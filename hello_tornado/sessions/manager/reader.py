"""Reads sessions from the store: writable ones, read-only ones, and lists."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from hello_tornado.sessions.errors import ReadOnly, SessionError, SessionUnreadable
from hello_tornado.sessions.events import RecordUnreadable, SessionEvent
from hello_tornado.sessions.manager.codec import Codec
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import Listed, SessionFacts, SessionRecord
from hello_tornado.sessions.records.serializers import Serializer
from hello_tornado.sessions.records.values import check_user_id
from hello_tornado.sessions.session.document import empty_document
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.stores import Store
from hello_tornado.sessions.stores.batched_store import BatchedStore

# `store.page` lists sessions after this; tombstones come before it.
BEFORE_ALL_SESSIONS: Final[Listed] = SessionFacts(SessionKey(b""), "", 0, None, 0, 0, 0, 0)
READ_AT_ONCE: Final = 50  # sessions; with 64 KiB each that is 3 MiB
TO_LOOK_AT: Final = (
    "this session is read-only; to change it: "
    "async with session_manager.transaction(handle) as session: ..."
)


class Reader:
    """Reads sessions.

    Args:
        store: The store, for lists.
        shared: The same store with batched calls, for single sessions.
        codec: Reads records.
        serializer: Checks the values that are set in sessions.
        clock: Returns the present moment in microseconds since 1970.
        used: Called for each session that is opened.
        emit: Called with an event if a session cannot be read.

    """

    def __init__(
        self,
        store: Store,
        shared: BatchedStore,
        codec: Codec,
        serializer: Serializer,
        *,
        clock: Callable[[], int],
        used: Callable[[], None],
        emit: Callable[[SessionEvent], None],
    ) -> None:
        self._store = store
        self._shared = shared
        self._codec = codec
        self._lifetimes = codec.lifetimes
        self._serializer = serializer
        self._now = clock
        self._used = used
        self._emit = emit

    async def living(self, key: SessionKey) -> SessionRecord | None:
        """Return the record under *key*, or None if there is none or it has expired."""
        record = await self._shared.load(key)
        if record is None or not self._lifetimes.is_living(record, self._now()):
            return None
        return record

    def session(self, record: SessionRecord | None, now: int | None = None) -> Session:
        """Return the session in *record*, or a new one.

        If the record cannot be read, the session is empty and its `refusal` is set.
        """
        self._used()
        opened_at = self._now() if now is None else now
        refusal: SessionError | None = None
        try:
            document = self._codec.document(record, opened_at) if record else empty_document()
        except SessionUnreadable as error:
            assert record is not None  # noqa: S101 - only a record can be unreadable
            self._emit(RecordUnreadable(record.handle, str(error)))
            document, refusal = empty_document() | {"user_id": record.user_id}, error
        session = Session(record, document, opened_at, self._lifetimes, self._serializer)
        session.refusal = refusal
        return session

    def readable(self, record: SessionRecord, now: int | None = None) -> Session:
        """Return the session in *record*; raise `SessionUnreadable` if it cannot be read."""
        session = self.session(record, now)
        if session.refusal is not None:
            raise session.refusal
        return session

    def to_look_at(self, record: SessionRecord, now: int | None = None) -> Session:
        """Return the session in *record*, read-only because nothing would store its changes."""
        session = self.session(record, now)
        session.refusal = session.refusal or ReadOnly(TO_LOOK_AT)
        return session

    async def facts_of(self, user_id: str) -> Sequence[Listed]:
        """Return the valid sessions of a user, newest first, without their data."""
        check_user_id(user_id)
        now = self._now()
        found = await self._store.find_by_user(user_id)
        return [one for one in found if self._lifetimes.is_living(one, now)]

    async def read(self, listed: Sequence[Listed]) -> AsyncIterator[Session]:
        """Yield the sessions that were *listed*, with their data, read-only."""
        for start in range(0, len(listed), READ_AT_ONCE):
            part = listed[start : start + READ_AT_ONCE]
            found = await self._store.load([one.key for one in part])
            moved = [one.handle for one in part if one.key not in found]
            others = await self._store.find_by_handle(moved) if moved else ()
            successors = {record.handle: record for record in others}
            now = self._now()
            for one in part:
                record = found.get(one.key) or successors.get(one.handle)
                if (
                    record is not None
                    and record.user_id == one.user_id
                    and self._lifetimes.is_living(record, now)
                ):
                    yield self.to_look_at(record, now)

    async def all(self, batch: int) -> AsyncIterator[Session]:
        """Yield all valid sessions, ordered by expiry, read-only; read *batch* at a time."""
        now, last = self._now(), BEFORE_ALL_SESSIONS
        while page := await self._store.page(last, batch):
            living = [one for one in page if self._lifetimes.is_living(one, now)]
            async for session in self.read(living):
                yield session
            last = page[-1]
