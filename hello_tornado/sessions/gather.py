"""Calls that travel together: what arrives while a call is under way goes in the next one.

A lone question is put at once; under load the batch grows to whatever came meanwhile. Many requests
thus share one query, one round trip, one fsync.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import chain, islice
from typing import Any, Generic, NamedTuple, TypeVar

from hello_tornado.sessions.errors import StoreTimeout, StoreUnavailable

K = TypeVar("K", bound=Hashable)
Q = TypeVar("Q")
A = TypeVar("A")

Call = Callable[[Sequence[Q]], Awaitable[Sequence[A]]]


class _Asked(NamedTuple, Generic[Q, A]):
    """A question, and those who wait for its answer."""

    question: Q
    futures: list[asyncio.Future[A]]


class Gather(Generic[K, Q, A]):
    """Turns single questions into calls of *call*, which takes many and answers in their order.

    At most *lanes* calls are under way at a time, each with at most *limit* questions, whose keys
    are distinct. Questions that wait under one key are one question if they are *shared*, and else
    take turns. When a batch fails it is asked again one by one, so that one bad row never fails its
    neighbours; not so after `StoreUnavailable`, when nobody knows what was written. A
    `StoreTimeout` fails those, too, who have been waiting behind it.
    """

    def __init__(self, call: Call[Q, A], *, shared: bool, lanes: int = 1, limit: int = 256) -> None:
        self._call = call
        self._is_shared = shared
        self._free_lanes = lanes
        self._limit = limit
        self._lines: dict[K, list[_Asked[Q, A]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, key: K, question: Q) -> A:
        """The answer to *question*. Cancelling one caller leaves the others their answer."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        line = self._lines.setdefault(key, [])
        if line and self._is_shared:
            line[0].futures.append(future)
        else:
            line.append(_Asked(question, [future]))
        if self._free_lanes:
            self._free_lanes -= 1
            lane = asyncio.create_task(self._run_lane())
            self._running.add(lane)
            lane.add_done_callback(self._running.discard)
        return await future

    async def _run_lane(self) -> None:
        try:
            while self._lines:
                await self._ask([self._next(key) for key in [*islice(self._lines, self._limit)]])
        finally:
            self._free_lanes += 1

    def _next(self, key: K) -> _Asked[Q, A]:
        line = self._lines[key]
        asked = line.pop(0)
        if not line:
            del self._lines[key]
        return asked

    async def _ask(self, batch: Sequence[_Asked[Q, A]]) -> None:
        try:
            answers = await self._call([asked.question for asked in batch])
        except Exception as error:  # noqa: BLE001 - it goes to whoever asked
            if isinstance(error, StoreTimeout):
                batch = [*batch, *chain.from_iterable(self._lines.values())]
                self._lines.clear()
            if len(batch) == 1 or isinstance(error, StoreUnavailable):
                for asked in batch:
                    _fail(asked.futures, error)
            else:
                for asked in batch:
                    await self._ask([asked])
        else:
            for asked, answer in zip(batch, answers, strict=True):
                for future in asked.futures:
                    if not future.done():
                        future.set_result(answer)


def _fail(futures: Sequence[asyncio.Future[Any]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
            future.exception()  # nobody may be waiting any more; then it is no one's error
