"""Deletes expired sessions in batches, on request and periodically."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Final

from tornado.ioloop import PeriodicCallback

from hello_tornado.sessions.errors import SessionError
from hello_tornado.sessions.events import PurgeFailed, SessionEvent
from hello_tornado.sessions.manager.endings import Endings
from hello_tornado.sessions.records.lifetimes import MICROSECOND, as_timedelta
from hello_tornado.sessions.stores import Store

REST: Final = 4  # the pause after a batch, in times its duration; measured by bench.scale
MAX_REST: Final = timedelta(seconds=1)
JITTER: Final = 0.2  # so that processes do not purge at the same time


async def purge(
    store: Store,
    endings: Endings,
    clock: Callable[[], int],
    batch: int,
    progress: Callable[[int], object] | None,
) -> int:
    """Delete expired sessions and tombstones; return the number of sessions.

    Args:
        store: The store.
        endings: Deletes the tombstones.
        clock: Returns the present moment in microseconds since 1970.
        batch: How many are deleted at a time.
        progress: Called with the size of each batch after it was deleted, or None.

    """
    now, total = clock(), 0
    async for purged in _batches(lambda: store.purge(now, batch), batch, clock):
        total += purged
        if progress is not None:
            progress(purged)
    async for _forgotten in _batches(lambda: endings.forget(batch), batch, clock):
        pass
    return total


async def _batches(
    step: Callable[[], Awaitable[int]], size: int, clock: Callable[[], int]
) -> AsyncIterator[int]:
    """Call *step* until it returns less than *size*, with pauses; yield its results."""
    begun = clock()
    while done := await step():
        yield done
        if done < size:
            return
        rest = REST * (clock() - begun) * MICROSECOND
        await asyncio.sleep(max(0, min(rest, MAX_REST).total_seconds()))
        begun = clock()


class Purger:
    """Purges periodically, from `begin` to `stop`.

    If a run fails, it emits `PurgeFailed`, and the next run takes place as usual. Runs of one
    purger never overlap. After a fork, or in another event loop, `begin` starts it again.

    Args:
        purge: Deletes expired sessions.
        interval: The time between two runs, 10 % more or less, as a timedelta or a number of
            seconds; None: never.
        emit: Called with events.

    """

    def __init__(
        self,
        purge: Callable[[], Awaitable[int]],
        interval: timedelta | float | None,
        emit: Callable[[SessionEvent], None],
    ) -> None:
        self._purge = purge
        self._interval = None if interval is None else as_timedelta(interval)
        self._emit = emit
        self._periodic: PeriodicCallback | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """Start purging in the running event loop, unless it was started already."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self.stop()
            self._loop = loop
            if self._interval is not None:
                self._periodic = PeriodicCallback(self.run, self._interval, jitter=JITTER)
                self._periodic.start()

    def stop(self) -> None:
        """Start no further run."""
        if self._periodic is not None:
            self._periodic.stop()
        self._periodic = None

    async def run(self) -> None:
        """Purge once; emit an event if it fails."""
        try:
            await self._purge()
        except SessionError as error:
            self._emit(PurgeFailed(str(error)))
