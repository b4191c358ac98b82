"""A store as one session uses it: one key, one swap, one touch, sharing the calls of the moment."""

from collections.abc import Awaitable, Sequence
from typing import TypeVar

from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import Outcome, SessionRecord, Swap
from hello_tornado.sessions.stores import Store
from hello_tornado.sessions.stores.batching import Batcher, batched
from hello_tornado.sessions.stores.deadlines import limit_of_store

Q = TypeVar("Q")


class BatchedStore:
    """Puts the single questions of concurrent requests to *store* together."""

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
        """The record under *key*, expired or not."""
        return self._loads(key, key)

    def swap(self, swap: Swap) -> Awaitable[Outcome]:
        """What became of *swap*."""
        return self._saves((swap.old or swap.new).key, swap)

    def touch(self, record: SessionRecord) -> Awaitable[None]:
        """Write the record's later times."""
        return self._touches(record.key, record)

    async def _load_many(self, keys: Sequence[SessionKey]) -> Sequence[SessionRecord | None]:
        found = await self.store.load(keys)
        return [found.get(key) for key in keys]

    async def _touch_many(self, records: Sequence[SessionRecord]) -> Sequence[None]:
        await self.store.touch(records)
        return [None] * len(records)


def _once(question: Q, _same: Q) -> Q:
    """One answer is good for all who ask."""
    return question


def _in_turn(_earlier: Q, _later: Q) -> None:
    """What the later one asks depends on what becomes of the earlier one."""
