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
Fold = Callable[[Q, Q], Q | None]

Line: TypeAlias = list[tuple[Q, asyncio.Future[A]]]
"""Questions, each with its future, in the order in which they came."""
Turn: TypeAlias = tuple[Q, Line[Q, A]]
"""What is asked, and those whom it answers."""


class Gather(Generic[K, Q, A]):
    """Turns single questions into calls of *call*, which takes many and answers in their order.

    At most *lanes* calls are under way at a time, each with at most *limit* questions, whose keys
    are distinct. Of two questions that wait under one key, `fold(earlier, later)` makes one that
    answers both; where it makes None, they take turns.

    When a batch fails it is asked again one by one, so that one bad question never fails its
    neighbours; not so after `StoreUnavailable`, when nobody knows what was written. A
    `StoreTimeout` fails those, too, who have been waiting behind it.
    """

    def __init__(
        self, call: Call[Q, A], fold: Fold[Q], *, lanes: int = 1, limit: int = 256
    ) -> None:
        self._call = call
        self._fold = fold
        self._free_lanes = lanes
        self._limit = limit
        self._lines: dict[K, Line[Q, A]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def __call__(self, key: K, question: Q) -> asyncio.Future[A]:
        """The answer to *question*. Cancelling one caller leaves the others their answer."""
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        if key in self._lines:
            self._lines[key].append((question, future))
        else:
            self._lines[key] = [(question, future)]
        if self._free_lanes:
            self._free_lanes -= 1
            lane = asyncio.create_task(self._run_lane())
            self._running.add(lane)
            lane.add_done_callback(self._running.discard)
        return future

    async def _run_lane(self) -> None:
        try:
            while self._lines:
                turns = [self._turn_of(key) for key in [*islice(self._lines, self._limit)]]
                await self._ask(turns)
        finally:
            self._free_lanes += 1

    def _turn_of(self, key: K) -> Turn[Q, A]:
        """The next one of a line."""
        line = self._lines.pop(key)
        question = line[0][0]
        for place in range(1, len(line)):
            folded = self._fold(question, line[place][0])
            if folded is None:
                self._lines[key] = line[place:]
                return question, line[:place]
            question = folded
        return question, line

    async def _ask(self, turns: Sequence[Turn[Q, A]]) -> None:
        try:
            answers = await self._call([question for question, _ in turns])
        except Exception as error:  # noqa: BLE001 - it goes to whoever asked
            await self._ask_apart(turns, error)
        else:
            for (_, asking), answer in zip(turns, answers, strict=True):
                for _, future in asking:
                    if not future.done():
                        future.set_result(answer)

    async def _ask_apart(self, turns: Sequence[Turn[Q, A]], error: Exception) -> None:
        """After an *error*: each turn alone, then each question of a turn that was folded."""
        waiting = list(chain.from_iterable(line for _, line in turns))
        if isinstance(error, StoreTimeout):
            waiting += chain.from_iterable(self._lines.values())
            self._lines.clear()
        if isinstance(error, StoreUnavailable) or all(one == turns[0][0] for one, _ in waiting):
            for _, future in waiting:
                fail(future, error)
        elif len(turns) > 1:
            for turn in turns:
                await self._ask([turn])
        else:
            for question, future in waiting:
                await self._ask([(question, [(question, future)])])


def fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Tell whoever waits; nobody may be waiting any more, and then it is no one's error."""
    if not future.done():
        future.set_exception(error)
        future.exception()
