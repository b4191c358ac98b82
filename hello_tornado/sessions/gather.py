"""Calls that travel together: what arrives while a call is under way goes in the next one.

A lone question is put at once; under load the batch grows to whatever came meanwhile. Many requests
thus share one query, one round trip, one fsync.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import islice
from typing import Any, Generic, TypeVar

from hello_tornado.sessions.errors import StoreTimeout, StoreUnavailable

K = TypeVar("K", bound=Hashable)
Q = TypeVar("Q")
A = TypeVar("A")

Call = Callable[[Sequence[Q]], Awaitable[Sequence[A]]]


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
        self._waiting: dict[K, tuple[Q, asyncio.Future[A]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, key: K, question: Q) -> A:
        """The answer to *question*. Cancelling one caller leaves the others their answer."""
        while key in self._waiting and not self._is_shared:
            await asyncio.wait([self._waiting[key][1]])
        if key not in self._waiting:
            self._waiting[key] = question, asyncio.get_running_loop().create_future()
            if self._free_lanes:
                self._free_lanes -= 1
                lane = asyncio.create_task(self._run_lane())
                self._running.add(lane)
                lane.add_done_callback(self._running.discard)
        return await asyncio.shield(self._waiting[key][1])

    async def _run_lane(self) -> None:
        try:
            while self._waiting:
                batch = [self._waiting.pop(key) for key in list(islice(self._waiting, self._limit))]
                await self._ask(batch)
        finally:
            self._free_lanes += 1

    async def _ask(self, batch: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._call([question for question, _ in batch])
        except Exception as error:  # noqa: BLE001 - it goes to whoever asked
            if isinstance(error, StoreTimeout):
                batch = [*batch, *self._waiting.values()]
                self._waiting.clear()
            if len(batch) == 1 or isinstance(error, StoreUnavailable):
                for _, future in batch:
                    _fail(future, error)
            else:
                for one in batch:
                    await self._ask([one])
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # nobody may be waiting any more; then it is no one's error
