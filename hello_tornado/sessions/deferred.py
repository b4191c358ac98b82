"""Work that a response waits for before it leaves: begun once, by the first one to await it.

When nobody awaits it at once, it begins by itself in the next turn of the event loop, so that an
unawaited `flush()` or `finish()` sends as soon as the session is stored.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias

Arrival: TypeAlias = "asyncio.Future[None] | None"


class Deferred:
    """A step of a response, which follows *after* another one, if there is one."""

    def __init__(
        self,
        step: Callable[[], Awaitable[Arrival]],
        fail: Callable[[Exception], None],
        after: "Deferred | None" = None,
    ) -> None:
        """*fail* is told what *step* raises where nobody awaits it."""
        self._step: Callable[[], Awaitable[Arrival]] | None = step
        self._fail = fail
        self._after = after
        self._task: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._done: asyncio.Future[Arrival] = loop.create_future()
        loop.call_soon(self._begin_in_background)

    @property
    def is_done(self) -> bool:
        """Whether the step has come to its end."""
        return self._done.done()

    async def run(self) -> Arrival:
        """Take the step, or wait for its end; returns Tornado's future of the bytes' arrival."""
        if self._step is None:
            return await asyncio.shield(self._done)
        # Forgotten, for else it and its handler hold each other until the collector comes by.
        step, self._step = self._step, None
        after, self._after = self._after, None
        try:
            if after is not None:
                await after.settle()
            arrival = await step()
        except BaseException as error:
            self._end(error)
            raise
        self._done.set_result(arrival)
        return arrival

    async def settle(self) -> None:
        """Take the step, or wait for its end, and raise nothing."""
        if self._step is not None:
            try:
                await self.run()
            except Exception as error:  # noqa: BLE001 - it has an owner
                self._fail(error)
        elif not self._done.done():
            await asyncio.wait([self._done])

    def _begin_in_background(self) -> None:
        if self._step is not None:
            self._task = asyncio.ensure_future(self.settle())

    def _end(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            self._done.cancel()
        else:
            self._done.set_exception(error)
            self._done.exception()  # it is raised to the one who awaits the step, if anybody does

    def __await__(self) -> Generator[Any, None, None]:
        arrival = yield from self.run().__await__()
        if arrival is not None:
            yield from arrival
