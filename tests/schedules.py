"""All schedules of a few coroutines over one store: not luck, but a gate before each store call.

A scenario is run again and again; each time, whenever more than one coroutine waits at a gate,
another choice is made of whose call goes next, until every choice was made.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from hello_tornado.sessions import Store

TURNS = 30  # of the event loop: more than any coroutine needs from one store call to its next

T = TypeVar("T")
Scenario = Callable[["GatedStore", "Schedule"], Coroutine[Any, Any, None]]


class GatedStore:
    """A store whose calls wait until the schedule lets them pass, one at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.waiting: list[tuple[str, asyncio.Future[None], asyncio.Future[None]]] = []
        self.is_open = True

    def __getattr__(self, verb: str) -> Any:
        function = getattr(self._store, verb)
        if not callable(function):  # a fact about the store, such as its time limit
            return function
        return lambda *args: self.passing(verb, function(*args))

    async def passing(self, name: str, step: Awaitable[T]) -> T:
        """Wait at the gate; then take *step*, before anybody else passes."""
        if self.is_open:
            return await step
        loop = asyncio.get_running_loop()
        may_pass, has_passed = loop.create_future(), loop.create_future()
        self.waiting.append((name, may_pass, has_passed))
        await may_pass
        try:
            return await step
        finally:
            has_passed.set_result(None)

    async def moment(self, name: str) -> None:
        """A gate with nothing behind it: where a request may be overtaken without a store call."""
        await self.passing(name, asyncio.sleep(0))


class Schedule:
    """One run: the first choices are given, the others are the first that offer themselves."""

    def __init__(self, given: Sequence[int], turns: int = TURNS) -> None:
        self._given = given
        self._turns = turns
        self.taken: list[int] = []
        self.offered: list[int] = []
        self.trace: list[str] = []

    async def run(self, store: GatedStore, *coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run all to their end, in this schedule; returns their results."""
        store.is_open = False
        tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
        while True:
            for _ in range(self._turns):
                await asyncio.sleep(0)
            if not store.waiting:
                break
            verb, may_pass, has_passed = store.waiting.pop(self._choose(len(store.waiting)))
            self.trace.append(verb)
            may_pass.set_result(None)
            await has_passed
        store.is_open = True
        return await asyncio.gather(*tasks)

    def _choose(self, count: int) -> int:
        place = len(self.taken)
        choice = self._given[place] if place < len(self._given) else 0
        self.taken.append(choice)
        self.offered.append(count)
        return choice

    def next(self) -> list[int] | None:
        """The choices of the run after this one; None when all were made."""
        for place in reversed(range(len(self.taken))):
            if self.taken[place] + 1 < self.offered[place]:
                return [*self.taken[:place], self.taken[place] + 1]
        return None


async def every_schedule(
    make_store: Callable[[], Store], scenario: Scenario, turns: int = TURNS
) -> AsyncIterator[Schedule]:
    """Run *scenario* in every schedule, on one store: what is in it from before must not matter.

    No coroutine needs more *turns* of the event loop from one store call to its next.
    """
    given: list[int] | None = []
    store = make_store()
    try:
        while given is not None:
            schedule = Schedule(given, turns)
            try:
                await scenario(GatedStore(store), schedule)
            except AssertionError as error:
                error.add_note(f"in the schedule {' '.join(schedule.trace)}")
                raise
            yield schedule
            given = schedule.next()
    finally:
        await store.aclose()
