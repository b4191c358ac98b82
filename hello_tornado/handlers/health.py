"""Tells load balancers and supervisors whether the process is alive, and whether it can serve."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from hello_tornado.handlers.base import PlainHandler
from hello_tornado.problem import Problem
from hello_tornado.remedies import cure_of
from hello_tornado.sessions.errors import StoreError

SECONDS: Final = 1.0
EXPECTED: Final = (StoreError, Problem)

logger = logging.getLogger("hello_tornado.server")


def cure_for(error: BaseException) -> str:
    """Return one line that says what to do about the error of a check."""
    return error.cure if isinstance(error, Problem) else cure_of(error)


class Remembered:
    """A check whose result is kept for a second, so that frequent requests cost nothing.

    Requests during a check wait for its result. It is logged when the check begins to fail, when
    the advice on what to do changes, and when the check succeeds again.
    """

    def __init__(
        self, check: Callable[[], Awaitable[None]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._check = check
        self._now = clock
        self._asked: asyncio.Future[None] | None = None
        self._asked_at = 0.0
        self._cure: str | None = None

    async def __call__(self) -> None:
        """Raise what the check raises now, or has raised within the last second."""
        now = self._now()
        if self._asked is None or (self._asked.done() and now - self._asked_at >= SECONDS):
            self._asked, self._asked_at = asyncio.ensure_future(self._check()), now
            self._asked.add_done_callback(self._tell)
        await asyncio.shield(self._asked)

    def _tell(self, asked: "asyncio.Future[None]") -> None:
        error = None if asked.cancelled() else asked.exception()
        cure = cure_for(error) if isinstance(error, EXPECTED) else None
        if cure is None and self._cure is not None:
            logger.info("/readyz: ready again")
        elif cure != self._cure:
            logger.error("/readyz: not ready: %s; what to do: %s", error, cure)
        self._cure = cure


class HealthHandler(PlainHandler):
    """GET /healthz"""

    is_routine = True

    def get(self) -> None:
        """Answer with a 200, which shows that the event loop runs."""
        self.finish({"status": "ok"})


class ReadyHandler(PlainHandler):
    """GET /readyz"""

    is_routine = True

    def initialize(self, check: Callable[[], Awaitable[None]]) -> None:
        """*check* raises unless the store answers and has the schema of this program."""
        self._check = check

    async def get(self) -> None:
        """Answer with a 200 if requests can be served, else with a 503 that says what to do.

        The log has the cause.
        """
        try:
            await self._check()
        except EXPECTED as error:
            self.set_status(503)
            self.set_header("Retry-After", "5")
            cause, cure = type(error).__name__, cure_for(error)
            self.finish({"status": "unavailable", "cause": cause, "cure": cure})
        else:
            self.finish({"status": "ok"})
