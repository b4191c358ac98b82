"""Several processes that purge one store: one at a time, and nothing twice."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pymysql
import pytest
from sqlalchemy import make_url

from hello_tornado.database import migrate
from hello_tornado.sessions import SessionManager, Store, open_store
from hello_tornado.sessions.records.record import Swap
from hello_tornado.sessions.stores.sql.statements import PURGE_LOCK
from hello_tornado.sessions.testing import NOW, make_record

pytestmark = pytest.mark.gen_test(timeout=60)


async def test_processes_that_purge_together_delete_each_session_once(
    make_store: Callable[[], Store],
) -> None:
    managers = [SessionManager(make_store(), clock=lambda: NOW, log=False) for _ in range(3)]
    store = managers[0].store
    dead = [make_record(expires_at=NOW - n) for n in range(500)]
    alive = make_record(expires_at=NOW + 1)
    for start in range(0, 500, 100):
        await store.save([Swap(None, record) for record in dead[start : start + 100]])
    await store.save([Swap(None, alive)])
    total = 0
    while await store.count() > 1:
        total += sum(await asyncio.gather(*(manager.purge(batch=20) for manager in managers)))
    assert total == 500
    assert list(await store.page(None, 10)) == [alive.facts]
    for manager in managers:
        await manager.aclose()


@contextmanager
def purging_postgresql(url: str) -> Iterator[None]:
    with psycopg.connect(url) as connection:
        table = "hashtext(md5('public.sessions'))"
        connection.execute(f"SELECT pg_advisory_xact_lock({PURGE_LOCK}, {table})")
        yield


@contextmanager
def purging_mariadb(url: str) -> Iterator[None]:
    parts = make_url(url)
    arguments = {"host": parts.host, "port": parts.port, "user": parts.username}
    with pymysql.connect(
        **arguments, password=parts.password, database=parts.database
    ) as connection:
        table = "MD5(CONCAT(DATABASE(), '.sessions'))"
        connection.cursor().execute(f"SELECT GET_LOCK(CONCAT('{PURGE_LOCK} ', {table}), 1)")
        yield


@pytest.mark.parametrize(
    ("kind", "purging"), [("postgresql", purging_postgresql), ("mariadb", purging_mariadb)]
)
async def test_whoever_finds_another_process_at_it_leaves_it_alone(
    request: pytest.FixtureRequest, kind: str, purging: Callable[[str], Iterator[None]]
) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    migrate.upgrade(url)
    store = open_store(url)
    await store.save([Swap(None, make_record(expires_at=NOW))])
    with purging(url):
        assert await store.purge(NOW, 10) == 0
    assert await store.purge(NOW, 10) == 1
    await store.aclose()
