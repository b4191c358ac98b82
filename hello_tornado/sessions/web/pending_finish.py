"""The steps of a response that must wait: storing the session, then sending.

After the handler has returned, a step runs in the task of the request. While the handler is
running, or if it awaits the step, the step runs in a separate task. So a `flush()` or `finish()`
that is not awaited sends as soon as the session is stored, and cancelling the handler does not
interrupt a commit.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias

Arrival: TypeAlias = "asyncio.Future[None] | None"


class PendingFinish:
    """A step of a response, which runs once.

    Args:
        step: The function that does it.
        fail: Called with an error of the step, unless it is awaited; then the error is raised.
        after: A step that must be done first (None).

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
        """Whether the step is done."""
        return self._done.done()

    async def settle(self) -> None:
        """Run the step in the caller's task, or wait until it is done; ignore its errors."""
        if self._step is not None and self._task is None:
            await self._take()
        elif not self._done.done():
            await asyncio.wait([self._done])

    def _begin(self) -> None:
        """Run the step in a task, unless it is running already."""
        if self._step is not None and self._task is None:
            self._task = asyncio.ensure_future(self._take())

    async def _take(self) -> None:
        step, self._step = self._step, None
        after, self._after = self._after, None
        assert step is not None  # noqa: S101 - it runs once
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
        except Exception as error:  # noqa: BLE001 - it is raised for a caller or passed to fail()
            self._done.set_exception(error)
            self._done.exception()  # so that asyncio does not warn if the step is not awaited
            if not self._waiting and self._fail is not None:
                self._fail(error)
        except BaseException:
            self._done.cancel()
            raise
        finally:
            self._fail = self._task = None  # otherwise a reference cycle keeps the handler alive

    def __await__(self) -> Generator[Any, None, None]:
        self._waiting += 1
        try:
            self._begin()
            arrival = yield from asyncio.shield(self._done).__await__()
        finally:
            self._waiting -= 1
        if arrival is not None:
            yield from arrival
