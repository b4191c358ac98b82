"""Work that is begun by whoever awaits it first, in that one's own task, and is done only once."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias

Arrival: TypeAlias = "asyncio.Future[None] | None"


class Deferred:
    """The end of a response, to be run once by whoever awaits it first."""

    def __init__(self, end: Callable[[], Awaitable[Arrival]]) -> None:
        self._end: Callable[[], Awaitable[Arrival]] | None = end
        self._sent: asyncio.Future[Arrival] = asyncio.get_running_loop().create_future()

    async def run(self) -> Arrival:
        """Let the response leave; returns Tornado's future of its arrival, if one was sent."""
        if self._end is None:
            return await asyncio.shield(self._sent)
        # Forgotten, for else it and its handler hold each other until the collector comes by.
        end, self._end = self._end, None
        try:
            arrival = await end()
        except BaseException:
            self._sent.cancel()
            raise
        self._sent.set_result(arrival)
        return arrival

    def run_in_background(self) -> None:
        """For a response that is completed after its handler has returned."""
        self._task = asyncio.ensure_future(self.run())

    def __await__(self) -> Generator[Any, None, None]:
        arrival = yield from self.run().__await__()
        if arrival is not None:
            yield from arrival
