"""Watches sessions, such as those of open WebSockets, and reports when they change or end.

All watched sessions of this process are checked with one load, twice a second. A session that ends
in this process is checked at once, and so is one whose end the store announces.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeAlias, TypeVar

from hello_tornado.sessions.errors import StoreError
from hello_tornado.sessions.events import Ended, EndedReason, Renewed, SessionEvent, WatchFailed
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import SessionRecord
from hello_tornado.sessions.stores import Announcing, Store

T = TypeVar("T")

logger = logging.getLogger("hello_tornado.sessions")

INTERVAL_SECONDS: Final = 0.5
BATCH: Final = 1000
# The reason may be stored just after the end, so it is read again after these pauses.
PATIENCE_SECONDS: Final = (0, 0.02, 0.1)

Reasons: TypeAlias = Callable[[Collection[SessionKey]], Awaitable[Mapping[SessionKey, EndedReason]]]


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """The functions to call for a session. They run on the event loop and must not block.

    - `on_change`: called with the new record after the session was changed or used.
    - `on_end`: called with the reason after the session has ended; `ENDED` if it is unknown.
    """

    on_change: Callable[[SessionRecord], None]
    on_end: Callable[[EndedReason], None]


@dataclass(slots=True)
class _Watched:
    record: SessionRecord
    watches: list[Watch] = field(default_factory=list)


class Watcher:
    """Checks the watched sessions of a store while there are any.

    It is also a hook, so that it notices at once which sessions end in this process.

    Args:
        store: The store.
        reasons: Returns why the sessions under some keys have ended.
        clock: Returns the present moment in microseconds since 1970.
        emit: Called with an event if the store fails.

    """

    def __init__(
        self,
        store: Store,
        reasons: Reasons,
        clock: Callable[[], int],
        emit: Callable[[SessionEvent], None],
    ) -> None:
        self._store = store
        self._reasons = reasons
        self._clock = clock
        self._emit = emit
        self._watched: dict[SessionKey, _Watched] = {}
        self._keys_by_handle: dict[str, set[SessionKey]] = {}
        self._doubtful: set[SessionKey] = set()
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def __len__(self) -> int:
        return sum(len(one.watches) for one in self._watched.values())

    def __call__(self, event: SessionEvent) -> None:
        """Check the session of an *event* at once if it was ended or renewed."""
        if isinstance(event, Ended | Renewed):
            self._doubt([event.handle])

    def add(self, record: SessionRecord, watch: Watch) -> None:
        """Call the functions of *watch* when the session in *record* changes or ends."""
        self._watched.setdefault(record.key, _Watched(record)).watches.append(watch)
        self._keys_by_handle.setdefault(record.handle, set()).add(record.key)
        if not self._tasks:
            self._tasks.append(asyncio.create_task(self._look_again_and_again()))
            if isinstance(self._store, Announcing):
                self._tasks.append(asyncio.create_task(self._listen(self._store)))

    def remove(self, key: SessionKey, watch: Watch) -> None:
        """Stop calling the functions of *watch*. Does nothing if the session has ended."""
        watched = self._watched.get(key)
        if watched is not None and watch in watched.watches:
            watched.watches.remove(watch)
            if not watched.watches:
                self._forget(key)
        if not self._watched:
            self.stop()

    def stop(self) -> Collection[asyncio.Task[None]]:
        """Stop checking; return the tasks that were cancelled."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        return tasks

    async def aclose(self) -> None:
        """Stop checking, and wait until all tasks have ended."""
        if tasks := self.stop():
            await asyncio.wait(tasks)

    async def look(self, at: Collection[SessionKey] | None = None) -> None:
        """Check watched sessions: those with the keys *at*, or all."""
        keys = iter([*self._watched] if at is None else at)
        while batch := list(islice(keys, BATCH)):
            found = await self._store.load(batch)
            now = self._clock()
            over = {}
            for key in batch:
                record = found.get(key)
                if record is None or record.expires_at <= now:
                    over[key] = record
                else:
                    self._tell_changed(key, record)
            await self._end(over)

    def _doubt(self, handles: Collection[str]) -> None:
        """Have those of these sessions that are watched checked soon: they may have ended."""
        for handle in handles:
            self._doubtful |= self._keys_by_handle.get(handle, set())
        if self._doubtful:
            self._news.set()

    def _tell_changed(self, key: SessionKey, record: SessionRecord) -> None:
        watched = self._watched.get(key)
        if watched is not None and watched.record != record:
            watched.record = record
            for watch in [*watched.watches]:
                _call(watch.on_change, record)

    async def _end(self, over: Mapping[SessionKey, SessionRecord | None]) -> None:
        why = await self._why(over)
        for key in over:
            for watch in self._forget(key):
                _call(watch.on_end, why.get(key, EndedReason.ENDED))

    async def _why(
        self, over: Mapping[SessionKey, SessionRecord | None]
    ) -> Mapping[SessionKey, EndedReason]:
        now, watched = self._clock(), self._watched
        why = {
            key: EndedReason.EXPIRED  # a purge may have deleted it since
            for key, dead in over.items()
            if dead is not None or (key in watched and watched[key].record.expires_at <= now)
        }
        with suppress(StoreError):  # the sessions have ended even if the reason is unknown
            for pause in PATIENCE_SECONDS:
                unknown = over.keys() - why.keys()
                if unknown:
                    await asyncio.sleep(pause)
                    why |= await self._reasons(unknown)
                    why |= await self._renewed(unknown - why.keys())
        return why

    async def _renewed(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, EndedReason]:
        """Return the keys whose sessions have another key now."""
        handles = {self._watched[key].record.handle: key for key in keys if key in self._watched}
        found = await self._store.find_by_handle(handles) if handles else ()
        return {handles[record.handle]: EndedReason.RENEWED for record in found}

    def _forget(self, key: SessionKey) -> Sequence[Watch]:
        watched = self._watched.pop(key, None)
        if watched is None:
            return []
        keys = self._keys_by_handle[watched.record.handle]
        keys.discard(key)
        if not keys:
            del self._keys_by_handle[watched.record.handle]
        return watched.watches

    async def _look_again_and_again(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + INTERVAL_SECONDS
            await self._try(self.look())
            while (left := due - clock()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._news.wait()
                self._news.clear()
                doubtful, self._doubtful = self._doubtful, set()
                await self._try(self.look(doubtful))

    async def _listen(self, store: Announcing) -> None:
        while True:
            if await self._try(self._hear(store)):
                return
            await asyncio.sleep(INTERVAL_SECONDS)

    async def _hear(self, store: Announcing) -> None:
        async with aclosing(store.announcements()) as announcements:
            async for handles in announcements:
                self._doubt(handles)

    async def _try(self, step: Awaitable[None]) -> bool:
        """Await *step*, log any error, and return whether there was none.

        Checking must go on after any error; otherwise sockets would stay open after their sessions
        have ended.
        """
        try:
            await step
        except StoreError as error:
            self._emit(WatchFailed(str(error)))
        except Exception:
            logger.exception("watching failed")
        else:
            return True
        return False


def _call(function: Callable[[T], None], news: T) -> None:
    try:
        function(news)
    except Exception:
        logger.exception("a watch failed on %s", news if isinstance(news, str) else "a change")
