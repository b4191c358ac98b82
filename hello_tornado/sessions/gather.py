"""Calls that travel together: what arrives while a call is under way goes in the next one.

A lone question is put at once; under load the batch grows to whatever came meanwhile. Many requests
thus share one query, one round trip, one fsync.
"""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import chain, islice
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from hello_tornado.sessions.errors import StoreTimeout, StoreUnavailable

K = TypeVar("K", bound=Hashable)
Q = TypeVar("Q")
A = TypeVar("A")

Line: TypeAlias = list[tuple[Q, asyncio.Future[A]]]
"""Questions, each with its future, in the order in which they came."""


class Again(enum.Enum):
    """The type of `AGAIN`: no answer yet, the question is to be put once more."""

    AGAIN = enum.auto()


AGAIN: Final = Again.AGAIN

Call = Callable[[Sequence[Q]], Awaitable[Sequence[A | Again | Exception]]]
Fold = Callable[[Q, Q], Q | None]


class Turn(NamedTuple, Generic[K, Q, A]):
    """One question of a batch, and those whom it answers."""

    key: K
    question: Q
    line: Line[Q, A]

    @property
    def is_folded(self) -> bool:
        """Whether the question is another one than that of each who asks."""
        return self.question is not self.line[0][0]


class Gather(Generic[K, Q, A]):
    """Turns single questions into calls of *call*, which takes many and answers in their order.

    At most *lanes* calls are under way at a time, each with at most *limit* questions, whose keys
    are distinct. Of two questions that wait under one key, `fold(earlier, later)` makes one that
    answers both (the earlier itself when they ask the same); where it makes None, they take turns.

    An answer may be an error, for those who asked, or `AGAIN`: then the question stays at the head
    of its line, for the next call. When a call fails it is made again for each question alone, so
    that a bad one never fails its neighbours; not so after `StoreUnavailable`, when nobody knows
    what was written. A `StoreTimeout` fails those, too, who have been waiting behind it.
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

    def has_waiting(self, key: K) -> bool:
        """Whether somebody waits under *key* for the next call."""
        return key in self._lines

    async def _run_lane(self) -> None:
        try:
            while self._lines:
                turns = [self._turn_of(key) for key in [*islice(self._lines, self._limit)]]
                await self._ask(turns)
        finally:
            self._free_lanes += 1

    def _turn_of(self, key: K) -> Turn[K, Q, A]:
        line = self._lines.pop(key)
        question = line[0][0]
        for place in range(1, len(line)):
            folded = self._fold(question, line[place][0])
            if folded is None:
                self._lines[key] = line[place:]
                return Turn(key, question, line[:place])
            question = folded
        return Turn(key, question, line)

    async def _ask(self, turns: Sequence[Turn[K, Q, A]]) -> None:
        try:
            answers = await self._call([turn.question for turn in turns])
            answered = list(zip(turns, answers, strict=True))
        except Exception as error:  # noqa: BLE001 - it goes to whoever asked
            await self._fail(turns, error)
            return
        for turn, answer in answered:
            if answer is AGAIN:
                self._lines[turn.key] = turn.line + self._lines.get(turn.key, [])
            elif isinstance(answer, Exception):
                await self._fail([turn], answer)
            else:
                for _, future in turn.line:
                    if not future.done():
                        future.set_result(answer)

    async def _fail(self, turns: Sequence[Turn[K, Q, A]], error: Exception) -> None:
        """After an *error*: ask each turn alone, then each question of a turn that was folded."""
        if isinstance(error, StoreUnavailable) or not (len(turns) > 1 or turns[0].is_folded):
            behind = self._all_behind() if isinstance(error, StoreTimeout) else []
            for _, future in chain(*(turn.line for turn in turns), *behind):
                fail(future, error)
        elif len(turns) > 1:
            for turn in turns:
                await self._ask([turn])
        else:
            for asking in turns[0].line:
                await self._ask([Turn(turns[0].key, asking[0], [asking])])

    def _all_behind(self) -> list[Line[Q, A]]:
        behind = [*self._lines.values()]
        self._lines.clear()
        return behind


def fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Tell whoever waits; nobody may be waiting any more, and then it is no one's error."""
    if not future.done():
        future.set_exception(error)
        future.exception()
