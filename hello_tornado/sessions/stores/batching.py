"""Calls that travel together: what arrives while a call is under way goes in the next one.

A lone question is put at once; under load the batch grows to whatever came meanwhile. Many requests
thus share one query, one round trip, one fsync.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import chain, count, islice
from typing import Any, Generic, TypeAlias, TypeVar

from hello_tornado.sessions.errors import StoreMisconfigured, StoreTimeout, StoreUnavailable
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import AGAIN, Again
from hello_tornado.sessions.stores import Store, placement_of
from hello_tornado.sessions.stores.deadlines import (
    LIMIT_SECONDS,
    deadline_of_call,
    did_not_answer,
    wait_anew,
)

__all__ = ["AGAIN", "Again", "Batcher", "Batchers", "batched"]

K = TypeVar("K", bound=Hashable)
Q = TypeVar("Q")
A = TypeVar("A")

Line: TypeAlias = list[tuple[Q, asyncio.Future[A], float]]
"""Questions, each with its future and its deadline, in the order in which they came."""

Call = Callable[[Sequence[Q]], Awaitable[Sequence[A | Again | Exception]]]
Fold = Callable[[Q, Q], Q | None]


Turn: TypeAlias = tuple[K, Q, Line[Q, A]]
"""A key, one question of a batch, and those whom it answers."""


class Batcher(Generic[K, Q, A]):
    """Turns single questions into calls of *call*, which takes many and answers in their order.

    At most *lanes* calls are under way at a time, each with at most *limit* questions, whose keys
    are distinct. Of two questions that wait under one key, `fold(earlier, later)` makes one that
    answers both (the earlier itself when they ask the same); where it makes None, they take turns.

    An answer may be an error, for those who asked, or `AGAIN`: then the question stays at the head
    of its line, for the next call. When a call fails it is made again for each question alone, so
    that a bad one never fails its neighbours; not so after `StoreUnavailable`, when nobody knows
    what was written, nor after `StoreMisconfigured`, which is about all. A `StoreTimeout` fails
    those, too, who have been waiting behind it.

    A question that has no answer *seconds* after it was asked fails with `StoreTimeout`, however
    many were asked before it. One timer watches over all of them. Another event loop, as in the
    next test or after a fork, finds nothing of what an earlier one has left.
    """

    def __init__(
        self,
        call: Call[Q, A],
        fold: Fold[Q],
        *,
        lanes: int = 1,
        limit: int = 256,
        seconds: float = LIMIT_SECONDS,
    ) -> None:
        self._call = call
        self._fold = fold
        self._lanes = lanes
        self._limit = limit
        self._seconds = seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lines: dict[K, Line[Q, A]] = {}

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._free_lanes = self._lanes
        self._lines = {}
        self._under_way: list[Sequence[Turn[K, Q, A]]] = []
        self._numbers = count()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next_look = math.inf

    def __call__(self, key: K, question: Q) -> asyncio.Future[A]:
        """The answer to *question*. Cancelling one caller leaves the others their answer."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._begin(loop)
        future: asyncio.Future[A] = loop.create_future()
        deadline = deadline_of_call(self._seconds)
        if key in self._lines:
            self._lines[key].append((question, future, deadline))
        else:
            self._lines[key] = [(question, future, deadline)]
        if deadline < self._next_look:
            self._look_at(deadline)
        if self._free_lanes:
            self._free_lanes -= 1
            number = next(self._numbers)
            self._running[number] = loop.create_task(self._run_lane(number))
        return future

    def _look_at(self, moment: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        assert self._loop is not None  # noqa: S101 - or nobody would have asked
        self._next_look = moment
        self._timer = self._loop.call_at(moment, self._look)

    def _look(self) -> None:
        """Fail those whose time is over, and look again when the next one's will be."""
        assert self._loop is not None  # noqa: S101 - as above
        now, self._timer, self._next_look = self._loop.time(), None, math.inf
        for key, line in [*self._lines.items()]:
            self._lines[key] = [asking for asking in line if asking[2] > now]
            if not self._lines[key]:
                del self._lines[key]
            for _, future, deadline in line:
                if deadline <= now:
                    fail(future, did_not_answer())
        waiting = [line for turns in self._under_way for _, _, line in turns]
        soonest = math.inf
        for _, future, deadline in chain(*waiting, *self._lines.values()):
            if not future.done():
                if deadline <= now:
                    fail(future, did_not_answer())
                else:
                    soonest = min(soonest, deadline)
        if soonest < math.inf:
            self._look_at(soonest)

    def has_waiting(self, key: K) -> bool:
        """Whether somebody waits under *key* for the next call."""
        return key in self._lines

    def is_idle(self) -> bool:
        """Whether no call is under way."""
        return self._loop is None or not self._running

    async def _run_lane(self, number: int) -> None:
        wait_anew()
        try:
            while self._lines:
                turns = [self._turn_of(key) for key in [*islice(self._lines, self._limit)]]
                self._under_way.append(turns)
                await self._ask(turns)
                self._under_way.remove(turns)
        finally:
            self._free_lanes += 1
            del self._running[number]

    def _turn_of(self, key: K) -> Turn[K, Q, A]:
        line = self._lines.pop(key)
        question = line[0][0]
        for place in range(1, len(line)):
            folded = self._fold(question, line[place][0])
            if folded is None:
                self._lines[key] = line[place:]
                return key, question, line[:place]
            question = folded
        return key, question, line

    async def _ask(self, turns: Sequence[Turn[K, Q, A]]) -> None:
        try:
            answers = await self._call([question for _, question, _ in turns])
            answered = list(zip(turns, answers, strict=True))
        except Exception as error:  # noqa: BLE001 - it goes to whoever asked
            await self._fail(turns, error)
            return
        for turn, answer in answered:
            key, _, line = turn
            if answer is AGAIN:
                line = [asking for asking in line if not _is_failed(asking[1])]
                if line := line + self._lines.get(key, []):
                    self._lines[key] = line
            elif isinstance(answer, Exception):
                await self._fail([turn], answer)
            else:
                for _, future, _ in line:
                    if not future.done():
                        future.set_result(answer)

    async def _fail(self, turns: Sequence[Turn[K, Q, A]], error: Exception) -> None:
        """After an *error*: ask each turn alone, then each question of a turn that was folded."""
        key, question, line = turns[0]
        is_folded = question is not line[0][0]
        is_about_all = isinstance(error, StoreUnavailable | StoreMisconfigured)
        if is_about_all or not (len(turns) > 1 or is_folded):
            behind = self._all_behind() if isinstance(error, StoreTimeout) else []
            for _, future, _ in chain(*(line for _, _, line in turns), *behind):
                fail(future, error)
        elif len(turns) > 1:
            for turn in turns:
                await self._ask([turn])
        else:
            for asking in line:
                await self._ask([(key, asking[0], [asking])])

    def _all_behind(self) -> list[Line[Q, A]]:
        behind = [*self._lines.values()]
        self._lines.clear()
        return behind


class Batchers(Generic[K, Q, A]):
    """A batcher for each server, which *server_of* names by the key of a question.

    *make* makes one. Calls to one server are made beside those to another.
    """

    def __init__(
        self, make: Callable[[], Batcher[K, Q, A]], server_of: Callable[[K], Hashable]
    ) -> None:
        self._make = make
        self._server_of = server_of
        self._batchers: dict[Hashable, Batcher[K, Q, A]] = {}

    def __call__(self, key: K, question: Q) -> asyncio.Future[A]:
        """The answer to *question*, with what others ask of the same server."""
        server = self._server_of(key)
        if server not in self._batchers:  # the addresses of servers may change for ever
            busy = {name: one for name, one in self._batchers.items() if not one.is_idle()}
            self._batchers = {**busy, server: self._make()}
        return self._batchers[server](key, question)

    def has_waiting(self, key: K) -> bool:
        """Whether somebody waits under *key* for the next call, also one to the server before."""
        return any(batcher.has_waiting(key) for batcher in self._batchers.values())


def batched(
    make: Callable[[], Batcher[SessionKey, Q, A]], store: Store
) -> Batcher[SessionKey, Q, A] | Batchers[SessionKey, Q, A]:
    """What *make* makes, once for *store*, or for each of its servers."""
    placement = placement_of(store)
    return make() if placement is None else Batchers(make, placement.server_of)


def fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Tell whoever waits; nobody may be waiting any more, and then it is no one's error."""
    if not future.done():
        future.set_exception(error)
        future.exception()


def _is_failed(future: asyncio.Future[Any]) -> bool:
    """Whether its time was over. What a caller wanted who was cancelled is still done."""
    return future.done() and not future.cancelled()
