"""Settings of a database server that are not its defaults, and what we set on our connections."""

import asyncio
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from administrators import Mariadb
from psycopg import sql
from sqlalchemy import URL, make_url

from hello_tornado.database import migrate
from hello_tornado.sessions import Store, open_store
from hello_tornado.sessions.errors import StoreError, StoreMisconfigured
from hello_tornado.sessions.records.record import Saved, Swap
from hello_tornado.sessions.stores.failures import ServerRefuses
from hello_tornado.sessions.testing import NOW, make_record, newer

pytestmark = pytest.mark.gen_test(timeout=60)

VALUES = [
    b'say "hi"',
    b"it's",
    b"', 7, 7, 9223372036854775807) -- ",
    b"\\'; -- ",
]

OF_MARIADB = {  # that would change what our statements mean
    "autocommit": "0",
    "completion_type": "'CHAIN'",
    "max_join_size": "1",
    "sql_safe_updates": "1",
    "sql_select_limit": "1",
    "wait_timeout": "1",
    "tx_isolation": "'SERIALIZABLE'",
    "time_zone": "'+05:00'",
    "max_statement_time": "0.05",
    "character_set_server": "'latin1'",
    "sql_auto_is_null": "1",
}
OF_POSTGRESQL = {
    "array_nulls": "off",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "idle_session_timeout": "1s",
    "lc_messages": "C",
    "standard_conforming_strings": "off",
    "statement_timeout": "50ms",
    "transform_null_equals": "on",
}


@contextmanager
def mariadb_with(server: URL, **variables: str) -> Iterator[None]:
    """The server, with other global variables than it had."""
    administrator = Mariadb(server.render_as_string(hide_password=False))
    with administrator.connected() as cursor:
        before = {}
        for name, value in variables.items():
            cursor.execute(f"SELECT @@GLOBAL.{name}")
            ((before[name],),) = cursor.fetchall()
            cursor.execute(f"SET GLOBAL {name} = {value}")
        try:
            yield
        finally:
            for name, value in before.items():
                cursor.execute(f"SET GLOBAL {name} = %s", (value,))


@pytest.mark.parametrize("mode", ["NO_BACKSLASH_ESCAPES", "ANSI_QUOTES", "ANSI,ORACLE"])
async def test_a_value_stays_a_value_whatever_the_sql_mode_of_the_server(
    mariadb_server: URL, mariadb_url: str, mode: str
) -> None:
    with mariadb_with(mariadb_server, sql_mode=f"'{mode}'"):
        migrate.upgrade(mariadb_url)
        store = open_store(mariadb_url)
        for value in VALUES:
            old = make_record(data=value, user_id=value.decode())
            new = newer(old, data=value * 2)
            other = make_record(data=value)
            assert await store.save([Swap(None, old)]) == [Saved()]
            assert await store.save([Swap(old, new), Swap(None, other)]) == [Saved(), Saved()]
            assert await store.load([old.key, other.key]) == {old.key: new, other.key: other}
            assert await store.find_by_user(value.decode()) == [new.facts]
        assert await store.count() == 2 * len(VALUES)
        await store.aclose()


async def test_transactions_that_may_only_read_are_refused_until_they_may_write_again(
    mariadb_server: URL, mariadb_url: str
) -> None:
    migrate.upgrade(mariadb_url)
    store = open_store(mariadb_url)
    record = make_record()
    with mariadb_with(mariadb_server, tx_read_only="1"):  # of the connections that come now
        for call in (
            lambda: store.save([Swap(None, record)]),
            lambda: store.save([Swap(None, record), Swap(None, make_record())]),
            lambda: store.delete([record.key]),
        ):
            with pytest.raises(ServerRefuses):
                await call()
        assert await store.load([record.key]) == {}
    assert await store.save([Swap(None, record)]) == [Saved()]
    assert await store.load([record.key]) == {record.key: record}
    await store.aclose()


async def test_what_never_passes_by_waiting_is_no_503(postgresql_url: str) -> None:
    migrate.upgrade(postgresql_url)
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE sessions DROP COLUMN handle")
    store = open_store(postgresql_url)
    record = make_record(data=b"a private matter", user_id="ada-lovelace")
    with pytest.raises(StoreMisconfigured) as caught:
        await store.save([Swap(None, record)])
    text = "".join(traceback.format_exception(caught.value)).replace(str(record.key), "")
    assert "handle" in str(caught.value)
    assert "private" not in text
    assert "lovelace" not in text
    await store.aclose()


async def test_a_refused_value_is_told_by_its_code_alone(
    postgresql_url: str, mariadb_url: str
) -> None:
    for url in (postgresql_url, postgresql_url.replace("://", "+asyncpg://", 1), mariadb_url):
        migrate.upgrade(url)
        store = open_store(url)
        too_long = make_record(user_id="ada-lovelace" * 300)
        with pytest.raises(StoreError) as caught:
            await store.save([Swap(None, too_long)])
        text = "".join(traceback.format_exception(caught.value))
        assert "lovelace" not in text
        taken = make_record()
        same = make_record(key=taken.key)
        await store.save([Swap(None, taken)])
        with pytest.raises(StoreError) as caught:
            await store._database.write(store._saves.save, [Swap(None, same)])
        text = "".join(traceback.format_exception(caught.value))
        assert taken.key.hex() not in text.lower()
        assert repr(taken.key)[2:-1] not in text
        await store.aclose()


async def test_a_big_batch_is_saved_in_parts(mariadb_server: URL, mariadb_url: str) -> None:
    with mariadb_with(mariadb_server, max_allowed_packet="4194304"):
        migrate.upgrade(mariadb_url)
        store = open_store(f"{mariadb_url}?timeout=30")
        records = [make_record(data=b'"' * 60_000) for _ in range(100)]
        assert await store.save([Swap(None, record) for record in records]) == [Saved()] * 100
        swaps = [Swap(record, newer(record)) for record in records]
        assert await store.save(swaps) == [Saved()] * 100
        await store.aclose()


def rows_in(url: str) -> int:
    """How many rows others see; what is not committed is none of them."""
    query = "SELECT count(*) FROM sessions"
    if url.startswith("postgresql"):
        with psycopg.connect(url.replace("+asyncpg", "")) as connection:
            (number,) = connection.execute(query).fetchone() or (0,)
            return int(number)
    with Mariadb(url).connected() as cursor:
        cursor.execute("SET SESSION sql_big_selects = 1, max_statement_time = 0")
        cursor.execute(query)
        ((number,),) = cursor.fetchall()
        return int(number)


async def keep_the_contract(url: str) -> None:
    """A store does each of its verbs, and others see it at once."""
    store = open_store(url)
    try:
        await do_each_verb(store, url)
    finally:
        await store.aclose()


async def do_each_verb(store: Store, url: str) -> None:
    records = [make_record(user_id="ada ü'\\"), *(make_record(user_id=None) for _ in range(3))]
    assert await store.save([Swap(None, one) for one in records]) == [Saved()] * 4
    assert rows_in(url) == 4
    for _ in range(2):
        keys = [one.key for one in records]
        assert await store.load(keys) == {one.key: one for one in records}
        new = [newer(one) for one in records]
        swaps = [Swap(*pair) for pair in zip(records, new, strict=True)]
        assert await store.save(swaps) == [Saved()] * 4
        records = new
        assert await store.save([Swap(None, dead := make_record(expires_at=1))]) == [Saved()]
        assert rows_in(url) == 5
        assert await store.delete([make_record().key]) == set()
        assert await store.purge(NOW, 10) == 1
        assert await store.load([dead.key]) == {}
        assert rows_in(url) == 4
        await asyncio.sleep(1.1)  # longer than the server keeps those who are silent
    touched = [
        one._replace(accessed_at=one.accessed_at + 5, expires_at=one.expires_at + 5)
        for one in records
    ]
    await store.touch(touched)
    assert await store.find_by_user("ada ü'\\") == [touched[0].facts]
    assert len(await store.find_by_handle([one.handle for one in touched])) == 4
    assert len(await store.page(None, 3)) == 3
    assert await store.count() == 4
    assert await store.delete([one.key for one in touched[:2]]) == {one.key for one in touched[:2]}
    assert rows_in(url) == 2


async def test_mariadb_keeps_the_contract_whatever_its_defaults(
    mariadb_server: URL, mariadb_url: str
) -> None:
    migrate.upgrade(mariadb_url)
    with mariadb_with(mariadb_server, **OF_MARIADB):
        await keep_the_contract(mariadb_url)


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+asyncpg"])
async def test_postgresql_keeps_the_contract_whatever_its_defaults(
    driver: str, postgresql_url: str
) -> None:
    migrate.upgrade(postgresql_url)
    database = sql.Identifier(str(make_url(postgresql_url).database))
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        for name, value in OF_POSTGRESQL.items():
            setting = sql.SQL("ALTER DATABASE {} SET {} = {}")
            connection.execute(setting.format(database, sql.Identifier(name), sql.Literal(value)))
    await keep_the_contract(postgresql_url.replace("postgresql", driver, 1))
