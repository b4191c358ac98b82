"""Work that is begun by whoever awaits it first, in that one's own task, and is done only once."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any


class Deferred:
    """The end of a response, to be run once by whoever awaits it first."""

    def __init__(self, end: Callable[[], Awaitable["asyncio.Future[None] | None"]]) -> None:
        self._end = end
        self._sent: asyncio.Future[asyncio.Future[None] | None] | None = None

    async def run(self) -> "asyncio.Future[None] | None":
        """Let the response leave; returns Tornado's future of its arrival, if one was sent."""
        if self._sent is None:
            self._sent = asyncio.get_running_loop().create_future()
            try:
                self._sent.set_result(await self._end())
            except BaseException:
                self._sent.cancel()
                raise
        return await asyncio.shield(self._sent)

    def run_in_background(self) -> None:
        """For a response that is completed after its handler has returned."""
        self._task = asyncio.ensure_future(self.run())

    def __await__(self) -> Generator[Any, None, None]:
        arrival = yield from self.run().__await__()
        if arrival is not None:
            yield from arrival
