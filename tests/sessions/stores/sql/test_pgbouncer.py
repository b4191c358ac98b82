"""PostgreSQL behind PgBouncer, which gives each transaction the server process that is free."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from managing import stored
from services import pgbouncer
from sqlalchemy import URL, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from hello_tornado.database import migrate
from hello_tornado.sessions import SessionManager, SqlStore, Store, open_store
from hello_tornado.sessions.errors import StoreMisconfigured, StoreUnavailable
from hello_tornado.sessions.stores import Announcing
from hello_tornado.sessions.testing import StoreContract, make_record


@pytest.fixture(scope="module")
def pooler(postgresql_server: URL) -> Iterator[URL]:
    with pgbouncer(postgresql_server) as url:
        yield url


@pytest.fixture
def pooled_url(postgresql_url: str, pooler: URL) -> str:
    """A database of the test's own, through the pooler."""
    migrate.upgrade(postgresql_url)
    database = make_url(postgresql_url).database
    return pooler.set(database=database).render_as_string(hide_password=False)


class TestPooledStore(StoreContract):
    @pytest.fixture(autouse=True)
    def database(self, pooled_url: str) -> None:
        self.url = pooled_url

    def make_store(self) -> Store:
        return open_store(self.url)


@pytest.mark.gen_test
async def test_nothing_is_lost_between_processes_that_share_server_processes(
    pooled_url: str,
) -> None:
    engine = create_async_engine(pooled_url.replace("://", "+psycopg://", 1))
    stores = [*(open_store(pooled_url) for _ in range(3)), SqlStore.from_engine(engine)]
    managers = [SessionManager(store, log=False) for store in stores]
    session_id = await stored(managers[0], n=0)

    async def count(manager: SessionManager) -> None:
        for _ in range(50):
            session = await manager.open(session_id)
            session.increment("n")
            await manager.commit(session)

    await asyncio.gather(*map(count, managers))
    assert dict(await managers[0].open(session_id)) == {"n": 200}
    for manager in managers:
        await manager.aclose()


@pytest.mark.gen_test
async def test_no_setting_is_left_for_the_next_client(
    pooled_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    stores = [open_store(pooled_url) for _ in range(3)]
    for store in stores:
        await store.load([make_record().key])
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    with psycopg.connect(pooled_url, autocommit=True, prepare_threshold=None) as client:
        for _ in range(10):
            for name in names:
                assert client.execute(f"SHOW {name}").fetchone() == ("0",)
        assert client.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    for store in stores:
        await store.aclose()
    told = [line for line in caplog.messages if "ALTER ROLE" in line]
    assert len(told) == len(stores), "once for each store"
    assert "lock_timeout and its statement_timeout" in told[0]


@pytest.mark.gen_test
async def test_limits_that_are_set_elsewhere_are_enough(
    pooled_url: str, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(postgresql_url, autocommit=True) as administrator:
        for setting in ("lock_timeout = '700ms'", "statement_timeout = '3s'"):
            name = make_url(pooled_url).database
            administrator.execute(f"ALTER DATABASE {name} SET {setting}")
    store = open_store(pooled_url)
    await store.load([make_record().key])
    assert not [line for line in caplog.messages if "ALTER ROLE" in line]
    await store.aclose()


@pytest.mark.gen_test
async def test_another_isolation_level_is_refused_with_the_cure(
    pooled_url: str, postgresql_url: str
) -> None:
    with psycopg.connect(postgresql_url, autocommit=True) as administrator:
        name = make_url(pooled_url).database
        level = "ALTER DATABASE {} SET default_transaction_isolation = 'serializable'"
        administrator.execute(level.format(name))
    store = open_store(pooled_url)
    with pytest.raises(StoreMisconfigured, match="SET default_transaction_isolation = 'read com"):
        await store.load([make_record().key])
    await store.aclose()


@pytest.mark.gen_test
async def test_nothing_is_announced_and_that_is_told_once(
    pooled_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(pooled_url)
    assert isinstance(store, Announcing)
    with caplog.at_level(logging.WARNING):
        assert [handles async for handles in store.announcements()] == []
    assert len([line for line in caplog.messages if "not forward notifications" in line]) == 1
    await store.announce(["a" * 20])
    await store.aclose()


@pytest.mark.gen_test
async def test_asyncpg_is_refused_with_the_cure(pooled_url: str) -> None:
    store = open_store(pooled_url.replace("postgresql://", "postgresql+asyncpg://"))
    with pytest.raises(StoreMisconfigured, match="use psycopg"):
        await store.load([make_record().key])
    await store.aclose()


@pytest.mark.gen_test
async def test_what_the_pooler_refuses_is_unavailable_until_it_does_not(
    postgresql_url: str, postgresql_server: URL
) -> None:
    migrate.upgrade(postgresql_url)
    options = ("max_client_conn = 4", "query_wait_timeout = 1")
    with pgbouncer(postgresql_server, *options) as pooler:
        url = pooler.set(database=make_url(postgresql_url).database)
        text = url.render_as_string(hide_password=False)
        store, key = open_store(text), make_record().key
        with ExitStack() as stack:
            for _ in range(2):  # both server processes are in a transaction
                client = stack.enter_context(psycopg.connect(text))
                client.execute("SELECT 1")
            with pytest.raises(StoreUnavailable, match="query_wait_timeout"):
                await store.load([key])
            for _ in range(2):
                stack.enter_context(psycopg.connect(text, autocommit=True))
            other = open_store(text)
            with pytest.raises(StoreUnavailable, match="no more connections allowed"):
                await other.load([key])
            await other.aclose()
        assert await store.load([key]) == {}
        with psycopg.connect(postgresql_url, autocommit=True) as administrator:
            administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert await store.load([key]) == {}, "another server process is asked"
        await store.aclose()
