"""Purges run every now and then, by Tornado's `PeriodicCallback`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from tornado.ioloop import PeriodicCallback

from hello_tornado.sessions.errors import SessionError
from hello_tornado.sessions.events import PurgeFailed, SessionEvent
from hello_tornado.sessions.records.lifetimes import as_timedelta

JITTER: Final = 0.2  # so that many processes do not purge in step


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
