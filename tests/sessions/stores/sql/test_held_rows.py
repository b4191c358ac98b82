"""Rows that somebody else holds: an administrator, a backup, a process that hangs in the middle."""

import asyncio

import pytest
from administrators import Administrator, Mariadb

from hello_tornado.database import migrate
from hello_tornado.sessions import SessionManager, open_store
from hello_tornado.sessions.errors import StoreTimeout, StoreUnavailable
from hello_tornado.sessions.records.record import AGAIN, Saved, Swap
from hello_tornado.sessions.testing import NOW, make_record, newer

pytestmark = pytest.mark.gen_test(timeout=60)


async def test_a_row_that_is_held_holds_up_no_other_row(served: tuple[str, Administrator]) -> None:
    url, administrator = served
    store = open_store(url)
    held, other, third, dead = (make_record(expires_at=NOW + n) for n in (9, 9, 9, 0))
    await store.save([Swap(None, one) for one in (held, other, third, dead)])
    now = asyncio.get_running_loop().time
    with administrator.holding(held.key):
        started = now()
        swaps = [Swap(held, newer(held)), Swap(other, newer(other)), Swap(None, make_record())]
        assert await store.save(swaps) == [AGAIN, Saved(), Saved()]
        assert now() - started < 3
        started = now()
        swaps = [Swap(held, newer(held)), Swap(newer(other), newer(newer(other)))]
        assert await store.save(swaps) == [AGAIN, Saved()]
        assert now() - started < 0.5, "this time nobody waits for the row"
        touched = third._replace(accessed_at=NOW + 5, expires_at=NOW + 10)
        await store.touch([held._replace(accessed_at=NOW + 5, expires_at=NOW + 10), touched])
        assert await store.load([third.key]) == {third.key: touched}
        assert await store.purge(NOW, 10) == 1
        assert await store.delete([third.key]) == {third.key}
        with pytest.raises(StoreUnavailable):
            await store.delete([held.key])
        assert len(administrator.connections()) <= 4, "three of ours, and the one that holds it"
    assert await store.save([Swap(held, newer(held))]) == [Saved()]
    assert await store.delete([held.key]) == {held.key}
    await store.aclose()


async def test_whose_session_is_held_is_told_in_time_and_the_others_go_on(
    served: tuple[str, Administrator],
) -> None:
    url, administrator = served
    manager = SessionManager(open_store(url), log=False)
    mine, other = await manager.open(None), await manager.open(None)
    mine["n"], other["n"] = 0, 0
    await manager.commit(mine)
    await manager.commit(other)
    assert mine.record is not None
    with administrator.holding(mine.record.key):
        mine["n"] = 1
        started = asyncio.get_running_loop().time()
        waiting = asyncio.ensure_future(manager.commit(mine))
        for n in range(1, 10):
            other["n"] = n
            await manager.commit(other)
        assert not waiting.done(), "nine times, while one waits"
        with pytest.raises(StoreTimeout):
            await waiting
        assert asyncio.get_running_loop().time() - started < 3.5
    mine["n"] = 2
    await manager.commit(mine)
    assert (await manager.reload(mine))["n"] == 2
    await manager.aclose()


async def test_a_connection_that_is_lost_inside_of_a_transaction_is_replaced(
    served: tuple[str, Administrator],
) -> None:
    url, administrator = served
    store = open_store(url)
    held, other = make_record(), make_record()
    await store.save([Swap(None, held), Swap(None, other)])
    with administrator.holding(held.key):
        deleting = asyncio.ensure_future(store.delete([held.key]))
        while not await asyncio.to_thread(administrator.kill_waiting):
            assert not deleting.done()
        with pytest.raises(StoreUnavailable):
            await deleting
    assert await store.save([Swap(other, newer(other))]) == [Saved()]
    assert await store.delete([held.key, other.key]) == {held.key, other.key}
    await store.aclose()


async def test_the_victim_of_a_deadlock_is_asked_again(served: tuple[str, Administrator]) -> None:
    url, administrator = served
    store = open_store(url)
    one, two = sorted((make_record(), make_record()), key=lambda record: record.key)
    # The victim is whoever has changed less, on MariaDB: the stranger has changed many rows.
    others = [make_record() for _ in range(40)]
    await store.save([Swap(None, record) for record in (one, two, *others)])
    with administrator.changing([record.key for record in others]) as stranger:
        stranger(two.key)
        deleting = asyncio.ensure_future(store.delete([one.key, two.key]))
        while not await asyncio.to_thread(administrator.is_anybody_waiting):
            assert not deleting.done()
        await asyncio.to_thread(stranger, one.key)
    assert await deleting == {one.key, two.key}
    await store.aclose()


async def test_mariadb_locks_by_the_primary_key_also_in_a_small_table(mariadb_url: str) -> None:
    migrate.upgrade(mariadb_url)
    store = open_store(mariadb_url)
    records = [make_record() for _ in range(40)]
    await store.save([Swap(None, record) for record in records])
    administrator = Mariadb(mariadb_url)
    with administrator.holding(records[0].key):
        # Without the hint this reads the whole index by expiry, and waits for the row that is held.
        keys = {one.key for one in records[1:4]}
        deleted = await asyncio.gather(store.delete(keys), return_exceptions=True)
    await store.aclose()
    assert deleted == [keys]
