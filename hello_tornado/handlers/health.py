"""Is the process alive, and can it serve? For load balancers and supervisors."""

from collections.abc import Awaitable, Callable

from hello_tornado.handlers.base import PlainHandler
from hello_tornado.problem import Problem
from hello_tornado.sessions.errors import StoreError


class HealthHandler(PlainHandler):
    """GET /healthz"""

    def get(self) -> None:
        """Whoever reads this knows that the event loop turns."""
        self.finish({"status": "ok"})


class ReadyHandler(PlainHandler):
    """GET /readyz"""

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
