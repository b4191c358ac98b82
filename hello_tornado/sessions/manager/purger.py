"""Deletes what has expired, batch by batch: when it is asked to, and every now and then."""

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

REST: Final = 4  # times what it rests from; measured by bench.scale
MAX_REST: Final = timedelta(seconds=1)
JITTER: Final = 0.2  # so that many processes do not purge in step


async def purge(
    store: Store,
    endings: Endings,
    clock: Callable[[], int],
    batch: int,
    progress: Callable[[int], object] | None,
) -> int:
    """Delete the expired sessions in *store*, *batch* by *batch*; returns how many there were.

    What is remembered of ended sessions for long enough is deleted, too. *clock* tells the moment
    in microseconds since 1970. *progress* is told the size of each batch that is done.
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
    """What each *step* has done, until one does less than *size*; with a rest in between."""
    begun = clock()
    while done := await step():
        yield done
        if done < size:
            return
        rest = REST * (clock() - begun) * MICROSECOND
        await asyncio.sleep(max(0, min(rest, MAX_REST).total_seconds()))
        begun = clock()


class Purger:
    """Runs *purge* every *interval* (10 % more or less) from `begin` to `stop`; None: never.

    A run that fails is reported as `PurgeFailed`, and the next one runs all the same. Runs of one
    purger never overlap. After a fork, or in another event loop, it begins anew.
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
        """Purge from now on, in the running event loop; costs nothing when it has begun."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self.stop()
            self._loop = loop
            if self._interval is not None:
                self._periodic = PeriodicCallback(self.run, self._interval, jitter=JITTER)
                self._periodic.start()

    def stop(self) -> None:
        """Begin no further run."""
        if self._periodic is not None:
            self._periodic.stop()
        self._periodic = None

    async def run(self) -> None:
        """One run; its failure is an event."""
        try:
            await self._purge()
        except SessionError as error:
            self._emit(PurgeFailed(str(error)))
