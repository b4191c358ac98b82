"""Expired sessions are deleted in small batches, every now and then."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from tornado.ioloop import PeriodicCallback

from hello_tornado.sessions.errors import SessionError
from hello_tornado.sessions.events import Purged, PurgeFailed, SessionEvent
from hello_tornado.sessions.stores import Store

JITTER = 0.2  # so that many processes do not purge in step


class Purger:
    """Purges *store* every *interval* (±10 %), in batches of *batch*, once `start` is called.

    A run that fails is reported as `PurgeFailed`, and the next one runs all the same. Runs of one
    purger never overlap.
    """

    def __init__(
        self,
        store: Store,
        interval: timedelta,
        *,
        batch: int,
        clock: Callable[[], int],
        emit: Callable[[SessionEvent], None],
    ) -> None:
        self._store = store
        self._batch = batch
        self._clock = clock
        self._emit = emit
        self._periodic = PeriodicCallback(self._run, interval, jitter=JITTER)

    def start(self) -> None:
        """Purge from now on; needs a running event loop."""
        self._periodic.start()

    def stop(self) -> None:
        """Begin no further run."""
        self._periodic.stop()

    async def purge(self) -> int:
        """Delete what has expired by now, batch by batch; returns how many sessions that were."""
        now, total = self._clock(), 0
        while purged := await self._store.purge(now, self._batch):
            total += purged
            if purged < self._batch:
                break
            await asyncio.sleep(0)
        self._emit(Purged(total))
        return total

    async def _run(self) -> None:
        try:
            await self.purge()
        except SessionError as error:
            self._emit(PurgeFailed(str(error)))
