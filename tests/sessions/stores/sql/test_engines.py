"""A store in the database of an engine that an application has."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from databases import run
from sqlalchemy import create_engine, event, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from hello_tornado.sessions import SqlStore, Store, open_store
from hello_tornado.sessions.errors import (
    ConfigurationError,
    StoreMisconfigured,
    StoreUnavailable,
)
from hello_tornado.sessions.records.record import Saved, Swap
from hello_tornado.sessions.stores import Announcing
from hello_tornado.sessions.testing import make_record, newer

pytestmark = pytest.mark.gen_test(timeout=60)

DRIVERS = {
    "psycopg": "postgresql",
    "asyncpg": "postgresql",
    "asyncmy": "mariadb",
}


@pytest.fixture(params=DRIVERS)
def url(request: pytest.FixtureRequest) -> str:
    """An empty database, by its driver."""
    name = DRIVERS[request.param]
    found: str = request.getfixturevalue(f"{name}_url")
    return found.replace(name, f"{name}+{request.param}", 1)


@asynccontextmanager
async def engine_of(url: str, **options: Any) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(url, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


async def use(store: Store) -> None:
    """Save a session, and save it again."""
    record = make_record(user_id="ada-lovelace", data=b"\\'private")
    assert await store.save([Swap(None, record)]) == [Saved()]
    assert await store.save([Swap(record, newer(record))]) == [Saved()]
    assert record.key in await store.load([record.key])


async def answer(engine: AsyncEngine, question: str) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(text(question))).scalar_one()


async def test_it_needs_nothing_of_the_engines_pool_and_leaves_it_as_it_is(url: str) -> None:
    is_postgresql = url.startswith("postgresql")
    ask = "SHOW statement_timeout" if is_postgresql else "SELECT @@innodb_lock_wait_timeout"
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}
    async with engine_of(url, isolation_level="SERIALIZABLE", **options) as engine:
        before = await answer(engine, ask)
        async with engine.connect():  # the only one that the pool has
            store = SqlStore.from_engine(engine)
            await use(store)
            assert engine.pool.checkedout() == 1  # type: ignore[attr-defined]
        assert await answer(engine, ask) == before
        await store.aclose()
        assert await answer(engine, ask) == before
        await engine.dispose()
        store = SqlStore.from_engine(engine)
        await use(store)
        await engine.dispose()
        await use(store)
        await store.aclose()


async def test_the_engines_events_open_its_connections(url: str) -> None:
    """A token in the place of the password is fetched for each connection, for instance."""
    parts, given = make_url(url), []
    wrong = parts.set(password="of yesterday").render_as_string(hide_password=False)
    async with engine_of(wrong) as engine:

        @event.listens_for(engine.sync_engine, "do_connect")
        def provide_token(*arguments: Any) -> None:
            given.append(1)
            arguments[-1]["password"] = parts.password

        store = SqlStore.from_engine(engine)
        await use(store)
        assert len(given) == 2, "for reads and for writes"
        assert str(parts.password) not in str(store)
        assert "yesterday" not in str(store)
        await store.aclose()


async def test_a_refused_connection_is_an_unavailable_store(url: str) -> None:
    parts = make_url(url)
    for wrong in (parts.set(password="hush"), parts.set(port=1)):
        async with engine_of(wrong.render_as_string(hide_password=False)) as engine:
            store = SqlStore.from_engine(engine)
            with pytest.raises(StoreUnavailable) as caught:
                await store.load([make_record().key])
            assert "hush" not in str(caught.value)
            await store.aclose()


@pytest.mark.parametrize("kind", ["psycopg", "asyncpg"])
async def test_what_listens_to_connect_decides_where_the_table_is(
    postgresql_url: str, kind: str
) -> None:
    run(postgresql_url, "CREATE SCHEMA tenant")
    url = postgresql_url.replace("postgresql", f"postgresql+{kind}", 1)
    async with engine_of(url, poolclass=NullPool) as engine:

        @event.listens_for(engine.sync_engine, "connect")
        def choose_tenant(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute("SET search_path TO tenant")
            cursor.close()
            connection.commit()

        store = SqlStore.from_engine(engine)
        await use(store)
        assert run(postgresql_url) == []
        assert run(postgresql_url, schema="tenant") == ["sessions"]
        await store.aclose()


async def test_an_engine_that_echoes_shows_nothing_of_a_session(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with engine_of(url, echo="debug", echo_pool="debug") as engine:
        store = SqlStore.from_engine(engine)
        await use(store)
        await store.aclose()
    assert "lovelace" not in caplog.text
    assert "private" not in caplog.text


async def test_it_announces_to_stores_that_a_url_opened(postgresql_url: str) -> None:
    async with engine_of(postgresql_url.replace("://", "+psycopg://", 1)) as engine:
        here, there = SqlStore.from_engine(engine), open_store(postgresql_url)
        assert isinstance(here, Announcing)
        assert isinstance(there, Announcing)
        for teller, hearer in ((here, there), (there, here)):
            listener = hearer.announcements()
            heard = asyncio.ensure_future(anext(listener))
            while not heard.done():
                await teller.announce(["ended"])
                await asyncio.wait({heard}, timeout=0.05)
            assert await heard == ["ended"]
            await listener.aclose()
        for store in (here, there):
            await store.aclose()  # type: ignore[attr-defined]


async def test_a_character_set_that_is_not_utf_8_is_refused(mariadb_url: str) -> None:
    url = mariadb_url.replace("mariadb", "mariadb+asyncmy", 1)
    async with engine_of(f"{url}?charset=gbk") as engine:
        store = SqlStore.from_engine(engine)
        with pytest.raises(StoreMisconfigured, match="charset=utf8mb4"):
            await store.load([make_record().key])
        await store.aclose()


async def test_the_application_may_forbid_that_the_table_is_made(url: str) -> None:
    async with engine_of(url) as engine:
        store = SqlStore.from_engine(engine, table="mine", create=False, timeout=2)
        assert store.limit_seconds == 2
        with pytest.raises(StoreMisconfigured, match=r"create it with: CREATE TABLE .mine."):
            await store.load([make_record().key])
        await store.aclose()
    assert run(url) == []


class OtherDriver:
    """Drivers that are not installed; SQLAlchemy takes any module of this shape."""

    paramstyle = "format"
    sqlite_version_info = sqlite3.sqlite_version_info
    Error = sqlite3.Error
    has_stop = True


async def test_an_engine_that_is_none_of_ours_is_refused_at_once() -> None:
    mapped = create_async_engine("postgresql+psycopg://h/d").execution_options(
        schema_translate_map={None: "tenant"}
    )
    lite = create_async_engine("sqlite+aiosqlite:///var/app.db", module=OtherDriver)
    refused: list[tuple[Any, dict[str, Any], str]] = [
        (create_engine("postgresql+psycopg://h/d"), {}, "create_async_engine"),
        ("postgresql://h/d", {}, "it is a str"),
        (None, {}, "it is a NoneType"),
        (lite, {}, 'open_store("sqlite:///var/app.db")'),
        (create_async_engine("mysql+aiomysql://h/d", module=OtherDriver), {}, "is aiomysql"),
        (mapped, {}, 'schema="…"'),
        (create_async_engine("mysql+asyncmy://h/d"), {"table": "a.b"}, "without dots"),
        (create_async_engine("mysql+asyncmy://h/d"), {"timeout": 0}, "timeout"),
        (create_async_engine("mysql+asyncmy://h/d"), {"create": "no"}, "True or False"),
    ]
    for engine, options, message in refused:
        with pytest.raises(ConfigurationError) as caught:
            SqlStore.from_engine(engine, **options)
        assert message in str(caught.value)
    assert str(SqlStore.from_engine(mapped, schema="tenant")).endswith("/d?schema=tenant")
