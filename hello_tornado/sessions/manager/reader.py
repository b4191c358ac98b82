"""Makes sessions of what the store holds: to work with, to look at, or in a list."""

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

# Where `store.page` begins to list sessions: behind the tombstones.
BEFORE_ALL_SESSIONS: Final[Listed] = SessionFacts(SessionKey(b""), "", 0, None, 0, 0, 0, 0)
READ_AT_ONCE: Final = 50  # sessions; with 64 KiB each that is 3 MiB
TO_LOOK_AT: Final = (
    "this session is only to look at; to change it: "
    "async with session_manager.transaction(handle) as session: ..."
)


class Reader:
    """Reads sessions from *store*: single ones through *shared*, which batches calls, and lists.

    *clock* tells the moment in microseconds since 1970. *used* is called with each session that is
    made, *emit* with the event of one that cannot be read.
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
        """The record under *key*, unless its session has expired."""
        record = await self._shared.load(key)
        if record is None or not self._lifetimes.is_living(record, self._now()):
            return None
        return record

    def session(self, record: SessionRecord | None, now: int | None = None) -> Session:
        """The session in *record*, or a new one; one that cannot be read is empty, and says so."""
        self._used()
        opened_at = self._now() if now is None else now
        refusal: SessionError | None = None
        try:
            document = self._codec.document(record, opened_at) if record else empty_document()
        except SessionUnreadable as error:
            assert record is not None  # noqa: S101 - or nothing was read
            self._emit(RecordUnreadable(record.handle, str(error)))
            document, refusal = empty_document() | {"user_id": record.user_id}, error
        session = Session(record, document, opened_at, self._lifetimes, self._serializer)
        session.refusal = refusal
        return session

    def readable(self, record: SessionRecord, now: int | None = None) -> Session:
        """The session in *record*; `SessionUnreadable` when its bytes cannot be read."""
        session = self.session(record, now)
        if session.refusal is not None:
            raise session.refusal
        return session

    def to_look_at(self, record: SessionRecord, now: int | None = None) -> Session:
        """A session outside of its request; it refuses writes, for nobody would store them."""
        session = self.session(record, now)
        session.refusal = session.refusal or ReadOnly(TO_LOOK_AT)
        return session

    async def facts_of(self, user_id: str) -> Sequence[Listed]:
        """The living sessions of a user, newest first, without their data."""
        check_user_id(user_id)
        now = self._now()
        found = await self._store.find_by_user(user_id)
        return [one for one in found if self._lifetimes.is_living(one, now)]

    async def read(self, listed: Sequence[Listed]) -> AsyncIterator[Session]:
        """The sessions that were *listed*, with their data, to look at."""
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
        """Every living session, those that end soonest first, to look at."""
        now, last = self._now(), BEFORE_ALL_SESSIONS
        while page := await self._store.page(last, batch):
            living = [one for one in page if self._lifetimes.is_living(one, now)]
            async for session in self.read(living):
                yield session
            last = page[-1]
