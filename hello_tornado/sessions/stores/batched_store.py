"""A store with methods for a single key; concurrent calls are combined into one store call."""

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import Outcome, SessionRecord, Swap
from hello_tornado.sessions.stores import Store
from hello_tornado.sessions.stores.batching import Batcher, batched
from hello_tornado.sessions.stores.deadlines import limit_of_store

Q = TypeVar("Q")


class BatchedStore:
    """Combines the single calls of concurrent requests into calls of *store*."""

    def __init__(self, store: Store) -> None:
        self.store = store
        seconds = limit_of_store(store)
        self._loads = batched(
            lambda: Batcher[SessionKey, SessionKey, SessionRecord | None](
                self._load_many, _once, seconds=seconds
            ),
            store,
        )
        self._saves = batched(
            lambda: Batcher[SessionKey, Swap, Outcome](store.save, _in_turn, seconds=seconds), store
        )
        self._touches = batched(
            lambda: Batcher[SessionKey, SessionRecord, None](
                self._touch_many, _once, seconds=seconds
            ),
            store,
        )

    def load(self, key: SessionKey) -> Awaitable[SessionRecord | None]:
        """Return the record under *key*, expired or not, or None."""
        return self._loads(key, key)

    def swap(self, swap: Swap) -> Awaitable[Outcome]:
        """Save *swap* and return its outcome."""
        return self._saves((swap.old or swap.new).key, swap)

    def touch(self, record: SessionRecord) -> Awaitable[None]:
        """Write the later `accessed_at` and `expires_at` of *record*."""
        return self._touches(record.key, record)

    async def _load_many(self, keys: Sequence[SessionKey]) -> Sequence[SessionRecord | None]:
        found = await self.store.load(keys)
        return [found.get(key) for key in keys]

    async def _touch_many(self, records: Sequence[SessionRecord]) -> Sequence[None]:
        await self.store.touch(records)
        return [None] * len(records)


def _once(question: Q, _same: Q) -> Q:
    """Fold equal questions into one; all callers get its answer."""
    return question


def _in_turn(_earlier: Q, _later: Q) -> None:
    """Do not fold: the later question depends on the outcome of the earlier one."""
