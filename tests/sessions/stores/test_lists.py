"""Lists of sessions do without their data, on every store."""

import json
import tracemalloc
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest

from hello_tornado.sessions import SessionManager, Store
from hello_tornado.sessions.records.record import Listed, SessionFacts, Swap
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.testing import NOW, make_record, renewed

pytestmark = pytest.mark.gen_test(timeout=60)

SIZE = 64 * 1024
COUNT = 64
SMALL = SIZE * COUNT // 8  # half a mebibyte, for what drivers and parsers need


async def fill(store: Store) -> None:
    for _ in range(4):
        records = [make_record(user_id="ada", data=bytes(SIZE)) for _ in range(COUNT // 4)]
        await store.save([Swap(None, record) for record in records])


async def peak_of(call: Awaitable[object]) -> int:
    """The most memory that Python has held at once for *call*, beside what it held before."""
    tracemalloc.start()
    try:
        await call
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_a_list_takes_no_memory_for_the_data(any_store: Store) -> None:
    await fill(any_store)
    for _ in range(2):  # the first time it opens connections, and learns the nodes of a cluster
        peaks = [
            await peak_of(any_store.find_by_user("ada")),
            await peak_of(any_store.page(None, COUNT)),
        ]
    assert max(peaks) < SMALL
    if not isinstance(any_store, MemoryStore):
        keys = [one.key for one in await any_store.page(None, COUNT)]
        assert await peak_of(any_store.load(keys)) > SIZE * COUNT, "the measure sees data"
    await any_store.aclose()


async def test_our_stores_list_facts(any_store: Store) -> None:
    await any_store.save([Swap(None, make_record(user_id="ada"))])
    listed = [*await any_store.find_by_user("ada"), *await any_store.page(None, 9)]
    assert [type(one) for one in listed] == [SessionFacts, SessionFacts]
    await any_store.aclose()


async def test_what_was_listed_is_read_in_its_order_and_under_new_ids(
    any_store: Store, clock: Any
) -> None:
    clock.now = NOW
    manager = SessionManager(any_store, clock=clock, log=False)
    records = [
        make_record(user_id="ada", created_at=NOW - n, data=json.dumps({"data": {"n": n}}).encode())
        for n in range(120)
    ]
    await any_store.save([Swap(None, record) for record in records])
    listed = await manager.facts_of("ada")
    assert [one.handle for one in listed] == [record.handle for record in records]
    await any_store.delete([records[0].key])
    taken = renewed(records[1], user_id="bob")
    await any_store.save(
        [Swap(records[1], taken), *(Swap(one, renewed(one)) for one in records[2:4])]
    )
    assert [session["n"] async for session in manager.read(listed)] == list(range(2, 120))
    assert [session["n"] for session in await manager.sessions_of("ada")] == list(range(2, 120))
    assert len([session async for session in manager.all(batch=7)]) == 119
    await manager.aclose()


class WholeRecords(MemoryStore):
    """A store that lists what it has; of a record only the facts are read."""

    async def find_by_user(self, user_id: str, /) -> Sequence[Listed]:  # type: ignore[override]
        return list(
            (await self.load([one.key for one in await super().find_by_user(user_id)])).values()
        )

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[Listed]:  # type: ignore[override]
        return list(
            (await self.load([one.key for one in await super().page(after, limit)])).values()
        )


async def test_a_store_may_list_whole_records(clock: Any) -> None:
    clock.now = NOW
    manager = SessionManager(WholeRecords(), clock=clock, log=False, max_sessions_per_user=2)
    for _ in range(3):
        session = await manager.open(None)
        session.login("ada")
        await manager.commit(session)
    assert len(await manager.sessions_of("ada")) == 2
    assert len([session async for session in manager.all()]) == 2
    assert await manager.revoke_user("ada") == 2
    assert await manager.clear() == 0
