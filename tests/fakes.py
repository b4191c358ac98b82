"""What tests use in the place of the real thing: a secret, a clock, and a store that obeys."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hello_tornado.sessions import Store
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.records.record import Listed, Outcome, SessionRecord, Swap
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.testing import NOW

SECRET = "a secret of the tests, long enough for anyone"
VERBS = frozenset(
    {"load", "save", "touch", "delete", "find_by_user", "find_by_handle", "page", "count", "purge"}
)


@dataclass
class Clock:
    """The moment now, moved by hand."""

    now: int = NOW

    def __call__(self) -> int:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration) // MICROSECOND


class FakeStore:
    """Passes each call on to a real store; tells what was called, and fails or waits on demand.

    Arguments:
        store: the store behind it; a new one in memory, if none is given.
        turns: for how many turns of the event loop each verb takes before it does anything.

    Attributes:
        calls: the verbs that were called, in their order.
        sizes: the same with the number of keys or records of each call, or the limit of a purge.
        failing: the verbs that raise `error`.
        saves_to_fail: how many of the next saves fail, the others do not.
        saves_done: how many saves have succeeded.
        is_saving: set when a save begins.
        has_saved: set when a save has succeeded, and cleared when the next one begins.
        may_save: while it is cleared, saves wait before they write.
        may_answer: while it is cleared, saves wait after they have written.

    """

    def __init__(self, store: Store | None = None, turns: Mapping[str, int] | None = None) -> None:
        self._store: Any = MemoryStore() if store is None else store
        self._turns = dict(turns or {})
        self.calls: list[str] = []
        self.sizes: list[tuple[str, int]] = []
        self.failing: Collection[str] = frozenset()
        self.error: type[Exception] = StoreUnavailable
        self.saves_to_fail = 0
        self.saves_done = 0
        self.is_saving, self.has_saved = asyncio.Event(), asyncio.Event()
        self.may_save, self.may_answer = asyncio.Event(), asyncio.Event()
        self.may_save.set()
        self.may_answer.set()

    def __getattr__(self, name: str) -> Any:
        """Whatever else the store behind it has."""
        return getattr(self._store, name)

    @property
    def is_down(self) -> bool:
        """Whether every verb fails."""
        return self.failing == VERBS

    @is_down.setter
    def is_down(self, is_down: bool) -> None:
        self.failing = VERBS if is_down else frozenset()

    async def _asked(self, verb: str, size: int) -> None:
        self.calls.append(verb)
        self.sizes.append((verb, size))
        for _ in range(self._turns.get(verb, 0)):
            await asyncio.sleep(0)
        if verb in self.failing:
            raise self.error("the store is down")

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        await self._asked("load", len(keys))
        found: Mapping[SessionKey, SessionRecord] = await self._store.load(keys)
        return found

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        is_to_fail = self.saves_to_fail > 0
        self.saves_to_fail -= is_to_fail
        self.is_saving.set()
        self.has_saved.clear()
        await self.may_save.wait()
        await self._asked("save", len(swaps))
        if is_to_fail:
            raise self.error("the store is down")
        outcomes: Sequence[Outcome] = await self._store.save(swaps)
        self.saves_done += 1
        self.has_saved.set()
        await self.may_answer.wait()
        return outcomes

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        await self._asked("touch", len(records))
        await self._store.touch(records)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        await self._asked("delete", len(keys))
        deleted: Collection[SessionKey] = await self._store.delete(keys)
        return deleted

    async def find_by_user(self, user_id: str, /) -> Sequence[Listed]:
        await self._asked("find_by_user", 1)
        found: Sequence[Listed] = await self._store.find_by_user(user_id)
        return found

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        await self._asked("find_by_handle", len(handles))
        found: Sequence[SessionRecord] = await self._store.find_by_handle(handles)
        return found

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[Listed]:
        await self._asked("page", limit)
        found: Sequence[Listed] = await self._store.page(after, limit)
        return found

    async def count(self, after: int = 0, /) -> int:
        await self._asked("count", 1)
        count: int = await self._store.count(after)
        return count

    async def purge(self, now: int, limit: int, /) -> int:
        await self._asked("purge", limit)
        count: int = await self._store.purge(now, limit)
        return count

    async def aclose(self) -> None:
        await self._store.aclose()
