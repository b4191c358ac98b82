"""Purges run every now and then, by Tornado's `PeriodicCallback`."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from tornado.ioloop import PeriodicCallback

from hello_tornado.sessions.errors import SessionError
from hello_tornado.sessions.events import PurgeFailed, SessionEvent

JITTER: Final = 0.2  # so that many processes do not purge in step


class Purger:
    """Runs *purge* every *interval* (10 % more or less), from `start` to `stop`.

    A run that fails is reported as `PurgeFailed`, and the next one runs all the same. Runs of one
    purger never overlap.
    """

    def __init__(
        self,
        purge: Callable[[], Awaitable[int]],
        interval: timedelta,
        *,
        emit: Callable[[SessionEvent], None],
    ) -> None:
        self._purge = purge
        self._emit = emit
        self._periodic = PeriodicCallback(self.run, interval, jitter=JITTER)

    def start(self) -> None:
        """Purge from now on; needs a running event loop."""
        self._periodic.start()

    def stop(self) -> None:
        """Begin no further run."""
        self._periodic.stop()

    async def run(self) -> None:
        """One run; its failure is an event."""
        try:
            await self._purge()
        except SessionError as error:
            self._emit(PurgeFailed(str(error)))
