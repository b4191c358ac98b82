"""Work that a response waits for before it leaves: the commit, and then the bytes.

When the handler has come to its end, the work is done in the task of the request. When the handler
goes on, or awaits the work itself, it runs in a task of its own: an unawaited `flush()` or
`finish()` sends as soon as the session is stored, and a handler that is cancelled while it waits
does not stop the commit halfway.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias

Arrival: TypeAlias = "asyncio.Future[None] | None"


class PendingFinish:
    """A step of a response, taken once, and *after* another one unless that is done.

    An error is raised to those who await the step; if nobody does, *fail* is told.
    """

    def __init__(
        self,
        step: Callable[[], Awaitable[Arrival]],
        fail: Callable[[Exception], None],
        after: "PendingFinish | None" = None,
    ) -> None:
        self._step: Callable[[], Awaitable[Arrival]] | None = step
        self._fail: Callable[[Exception], None] | None = fail
        self._after = None if after is None or after.is_done else after
        self._task: asyncio.Task[None] | None = None
        self._waiting = 0
        loop = asyncio.get_running_loop()
        self._done: asyncio.Future[Arrival] = loop.create_future()
        loop.call_soon(self._begin)

    @property
    def is_done(self) -> bool:
        """Whether the step has come to its end."""
        return self._done.done()

    async def settle(self) -> None:
        """Take the step in the caller's task, or wait for its end; raises nothing."""
        if self._step is not None and self._task is None:
            await self._take()
        elif not self._done.done():
            await asyncio.wait([self._done])

    def _begin(self) -> None:
        """Take the step in a task, unless it is being taken already."""
        if self._step is not None and self._task is None:
            self._task = asyncio.ensure_future(self._take())

    async def _take(self) -> None:
        step, self._step = self._step, None
        after, self._after = self._after, None
        assert step is not None  # noqa: S101 - it is taken once
        if after is not None:
            try:
                await after.settle()
            except asyncio.CancelledError:  # the client still waits
                if asyncio.current_task() is not self._task:
                    self._step, self._after = step, after
                    self._begin()
                raise
        try:
            self._done.set_result(await step())
        except Exception as error:  # noqa: BLE001 - it has an owner
            self._done.set_exception(error)
            self._done.exception()  # it was looked at: nobody has to wait for it
            if not self._waiting and self._fail is not None:
                self._fail(error)
        except BaseException:
            self._done.cancel()
            raise
        finally:
            self._fail = self._task = None  # or the handler would wait for the garbage collector

    def __await__(self) -> Generator[Any, None, None]:
        self._waiting += 1
        try:
            self._begin()
            arrival = yield from asyncio.shield(self._done).__await__()
        finally:
            self._waiting -= 1
        if arrival is not None:
            yield from arrival
