"""Calls that travel together: what arrives while a call is under way goes in the next one.

A lone question is put at once; under load the batch grows to whatever came meanwhile. Many requests
thus share one query, one round trip, one fsync.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import chain, islice
from typing import Any, Generic, TypeAlias, TypeVar

from hello_tornado.sessions.errors import StoreTimeout, StoreUnavailable

K = TypeVar("K", bound=Hashable)
Q = TypeVar("Q")
A = TypeVar("A")

Call = Callable[[Sequence[Q]], Awaitable[Sequence[A]]]

Line: TypeAlias = list[tuple[Q, asyncio.Future[A]]]
"""Questions, each with its future, in the order in which they came."""


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
        self._lines: dict[K, Line[Q, A]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def __call__(self, key: K, question: Q) -> asyncio.Future[A]:
        """The answer to *question*. Cancelling one caller leaves the others their answer."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(key, []).append((question, future))
        if self._free_lanes:
            self._free_lanes -= 1
            lane = asyncio.create_task(self._run_lane())
            self._running.add(lane)
            lane.add_done_callback(self._running.discard)
        return future

    async def _run_lane(self) -> None:
        try:
            while self._lines:
                await self._ask([self._turn_of(key) for key in [*islice(self._lines, self._limit)]])
        finally:
            self._free_lanes += 1

    def _turn_of(self, key: K) -> Line[Q, A]:
        """Those of a line who are answered together."""
        line = self._lines[key]
        if self._is_shared or len(line) == 1:
            return self._lines.pop(key)
        return [line.pop(0)]

    async def _ask(self, turns: Sequence[Line[Q, A]]) -> None:
        try:
            answers = await self._call([turn[0][0] for turn in turns])
        except Exception as error:  # noqa: BLE001 - it goes to whoever asked
            if isinstance(error, StoreTimeout):
                turns = [*turns, *self._lines.values()]
                self._lines.clear()
            if len(turns) == 1 or isinstance(error, StoreUnavailable):
                for _, future in chain.from_iterable(turns):
                    fail(future, error)
            else:
                for turn in turns:
                    await self._ask([turn])
        else:
            for turn, answer in zip(turns, answers, strict=True):
                for _, future in turn:
                    if not future.done():
                        future.set_result(answer)


def fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Tell whoever waits; nobody may be waiting any more, and then it is no one's error."""
    if not future.done():
        future.set_exception(error)
        future.exception()
