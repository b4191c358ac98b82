"""To count or list all sessions of a large store takes a while, and no request waits for that."""

import asyncio
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection

from hello_tornado.database import migrate
from hello_tornado.sessions.records.record import Swap
from hello_tornado.sessions.stores.sql.store import SqlStore
from hello_tornado.sessions.testing import make_record

pytestmark = pytest.mark.gen_test

LOCKS = {
    "postgresql": ("SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)"),
    "mariadb": ("SELECT GET_LOCK('here', 10)", "SELECT RELEASE_LOCK('here')"),
}


def answer(connection: Connection, statement: str) -> int:
    connection.exec_driver_sql(statement).all()
    return 1


@pytest.mark.parametrize("kind", LOCKS)
async def test_requests_pass_a_long_count_on_a_server(
    request: pytest.FixtureRequest, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    migrate.upgrade(url)
    store, record, (lock, unlock) = SqlStore.from_url(url), make_record(), LOCKS[kind]
    await store.save([Swap(None, record)])
    await store._database.write(answer, lock)
    monkeypatch.setattr(
        store._statements, "count", lambda connection, _after: answer(connection, lock)
    )
    count = asyncio.ensure_future(store.count())
    await asyncio.sleep(0)  # it has its lane now
    assert record.key in await store.load([record.key])
    assert not count.done()
    await store._database.write(answer, unlock)
    assert await count == 1
    await store.aclose()


async def test_requests_pass_a_long_count_in_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def count(_connection: Connection, _after: int) -> int:
        begun.set()
        return int(may_end.wait(10))

    store, record = SqlStore.from_url(f"sqlite:///{tmp_path}/sessions.db"), make_record()
    monkeypatch.setattr(store._statements, "count", count)
    await store.save([Swap(None, record)])
    counting = asyncio.ensure_future(store.count())
    await asyncio.to_thread(begun.wait, 10)
    assert record.key in await store.load([record.key])
    assert not counting.done()
    may_end.set()
    assert await counting == 1
    await store.aclose()
