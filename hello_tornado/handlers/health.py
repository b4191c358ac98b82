"""Is the process alive, and can it serve? For load balancers and supervisors."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from hello_tornado.handlers.base import PlainHandler
from hello_tornado.problem import Problem
from hello_tornado.sessions.errors import StoreError

SECONDS: Final = 1.0


class Remembered:
    """A check whose outcome is good for a second, so that asking often costs nothing.

    Requests that come while it runs wait for the same run.
    """

    def __init__(
        self, check: Callable[[], Awaitable[None]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._check = check
        self._now = clock
        self._asked: asyncio.Future[None] | None = None
        self._asked_at = 0.0

    async def __call__(self) -> None:
        """Raise what the check raises, or raised within the last second."""
        now = self._now()
        if self._asked is None or (self._asked.done() and now - self._asked_at >= SECONDS):
            self._asked, self._asked_at = asyncio.ensure_future(self._check()), now
        await asyncio.shield(self._asked)


class HealthHandler(PlainHandler):
    """GET /healthz"""

    is_routine = True

    def get(self) -> None:
        """Whoever reads this knows that the event loop turns."""
        self.finish({"status": "ok"})


class ReadyHandler(PlainHandler):
    """GET /readyz"""

    is_routine = True

    def initialize(self, check: Callable[[], Awaitable[None]]) -> None:
        """*check* raises unless the store answers and has the schema of this program."""
        self._check = check

    async def get(self) -> None:
        """200 when requests can be served, 503 when not; the log says why."""
        try:
            await self._check()
        except (StoreError, Problem) as error:
            self.set_status(503)
            self.set_header("Retry-After", "5")
            self.finish({"status": "unavailable", "cause": type(error).__name__})
        else:
            self.finish({"status": "ok"})
