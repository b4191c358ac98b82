"""A store that fails when a test says so."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from hello_tornado.sessions.errors import StoreError, StoreUnavailable
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import Listed, Outcome, SessionRecord, Swap
from hello_tornado.sessions.stores import Store, as_store

VERBS: Final = (
    "load",
    "save",
    "touch",
    "delete",
    "find_by_user",
    "find_by_handle",
    "page",
    "count",
    "purge",
)

When: TypeAlias = Literal["before", "after"]


@dataclass
class _Fault:
    """An error of some calls, before they are made or in the place of their answer."""

    verbs: Collection[str]
    when: When
    error: Exception
    left: int | None  # so many calls; None: all


@dataclass
class Held:
    """Calls that wait; `hold()` makes it."""

    verbs: Collection[str]
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    async def arrived(self) -> None:
        """Wait until a call waits here."""
        await self._arrived.wait()

    def release(self) -> None:
        """Let the calls go on."""
        self._released.set()

    async def _wait(self) -> None:
        self._arrived.set()
        await self._released.wait()


class FaultyStore:
    """*store*, a `Store` or a URL, which works until the test says otherwise.

    `calls` has the verbs of all calls, in their order: "load", "save", "touch", "delete",
    "find_by_user", "find_by_handle", "page", "count" and "purge". A method that takes *verbs* is
    about all of them when none is given.
    """

    def __init__(self, store: Store | str = "memory://") -> None:
        self._store = as_store(store)
        self._faults: list[_Fault] = []
        self._held: list[Held] = []
        self.calls: list[str] = []

    def fail(self, *verbs: str, times: int | None = None, error: Exception | None = None) -> None:
        """From now on these calls raise *error*, and do nothing.

        - *times*: so many calls; by default all, until `heal()`.
        - *error*: by default a `StoreUnavailable`, as of a store that is down.
        """
        down = StoreUnavailable("the session store failed: the test has said so")
        self._faults.append(_Fault(_checked(verbs), "before", error or down, times))

    def lose_answers(self, *verbs: str, times: int | None = None) -> None:
        """From now on these calls are made, and their answer is lost: a `StoreUnavailable`.

        - *times*: so many calls; by default all, until `heal()`.
        """
        lost = StoreUnavailable("the session store failed: the test has lost its answer")
        self._faults.append(_Fault(_checked(verbs), "after", lost, times))

    @contextmanager
    def hold(self, *verbs: str) -> Iterator[Held]:
        """Within the block these calls wait, until `release()` or its end.

        with store.hold("save") as held:
            response = asyncio.ensure_future(visitor.fetch("/"))
            await held.arrived()
            ...
        """
        held = Held(_checked(verbs))
        self._held.append(held)
        try:
            yield held
        finally:
            self._held.remove(held)
            held.release()

    def heal(self) -> None:
        """From now on nothing fails."""
        self._faults.clear()

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """As `Store.load`."""
        found: Mapping[SessionKey, SessionRecord] = await self._ask("load", keys)
        return found

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome | StoreError]:
        """As `Store.save`."""
        outcomes: Sequence[Outcome | StoreError] = await self._ask("save", swaps)
        return outcomes

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """As `Store.touch`."""
        await self._ask("touch", records)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """As `Store.delete`."""
        deleted: Collection[SessionKey] = await self._ask("delete", keys)
        return deleted

    async def find_by_user(self, user_id: str, /) -> Sequence[Listed]:
        """As `Store.find_by_user`."""
        found: Sequence[Listed] = await self._ask("find_by_user", user_id)
        return found

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """As `Store.find_by_handle`."""
        found: Sequence[SessionRecord] = await self._ask("find_by_handle", handles)
        return found

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[Listed]:
        """As `Store.page`."""
        found: Sequence[Listed] = await self._ask("page", after, limit)
        return found

    async def count(self, after: int = 0, /) -> int:
        """As `Store.count`."""
        return int(await self._ask("count", after))

    async def purge(self, now: int, limit: int, /) -> int:
        """As `Store.purge`."""
        return int(await self._ask("purge", now, limit))

    async def aclose(self) -> None:
        """As `Store.aclose`; never fails."""
        await self._store.aclose()

    def __getattr__(self, name: str) -> Any:
        """What only some stores have: announcements, a placement, a limit."""
        return getattr(self._store, name)

    async def _ask(self, verb: str, *args: Any) -> Any:
        self.calls.append(verb)
        for held in [*self._held]:
            if verb in held.verbs:
                await held._wait()
        fault = self._next_fault(verb)
        if fault is not None and fault.when == "before":
            raise fault.error
        answer = await getattr(self._store, verb)(*args)
        if fault is not None:
            raise fault.error
        return answer

    def _next_fault(self, verb: str) -> _Fault | None:
        for fault in self._faults:
            if verb in fault.verbs and fault.left != 0:
                fault.left = None if fault.left is None else fault.left - 1
                return fault
        return None


def _checked(verbs: Collection[str]) -> Collection[str]:
    if unknown := [verb for verb in verbs if verb not in VERBS]:
        raise ValueError(f"a store has no verb {unknown[0]!r}; it has {', '.join(VERBS)}")
    return verbs or VERBS
