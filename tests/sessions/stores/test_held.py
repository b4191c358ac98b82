"""A database server that hangs, drops its connections or is not there, and comes back."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pymysql
import pytest
from sqlalchemy import make_url

from hello_tornado import migrate
from hello_tornado.sessions import Store, open_store
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.record import Saved, Swap
from hello_tornado.sessions.stores import held
from hello_tornado.sessions.testing import make_record

pytestmark = pytest.mark.gen_test


class Postgresql:
    """What a database administrator can do to it."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def locked(self) -> Iterator[None]:
        with psycopg.connect(self.url) as connection:
            connection.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()

    def kill_connections(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


class Mariadb:
    """What a database administrator can do to it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _connect(self) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        url = make_url(self.url)
        return pymysql.connect(
            host=url.host,
            port=url.port or 3306,
            user=url.username,
            password=str(url.password),
            database=url.database,
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLES sessions WRITE")
            yield
            cursor.execute("UNLOCK TABLES")

    def kill_connections(self) -> None:
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM information_schema.processlist "
                "WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
            for (number,) in cursor.fetchall():
                cursor.execute(f"KILL {number}")


Administrator = Postgresql | Mariadb


@pytest.fixture(params=["postgresql", "postgresql+asyncpg", "mariadb"])
def served(request: pytest.FixtureRequest) -> tuple[str, Administrator]:
    kind = request.param.partition("+")[0]
    url: str = request.getfixturevalue(f"{kind}_url")
    migrate.upgrade(url)
    administrator = Postgresql(url) if kind == "postgresql" else Mariadb(url)
    return url.replace(kind, request.param, 1), administrator


async def works(store: Store) -> bool:
    record = make_record()
    saved = await store.save([Swap(None, record)])
    return saved == [Saved()] and record.key in await store.load([record.key])


async def test_a_server_that_hangs_is_left_behind_and_found_again(
    served: tuple[str, Administrator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "LIMIT_SECONDS", 0.3)
    url, administrator = served
    store = open_store(url)
    assert await works(store)
    with administrator.locked():
        for call in (
            lambda: store.load([make_record().key]),
            lambda: store.save([Swap(None, make_record())]),
            lambda: store.delete([make_record().key]),
        ):
            with pytest.raises(StoreUnavailable, match="it did not answer in time"):
                await asyncio.wait_for(call(), 1)
    assert await works(store)
    await store.aclose()


async def test_connections_that_were_cut_are_opened_again(
    served: tuple[str, Administrator],
) -> None:
    url, administrator = served
    store = open_store(url)
    record = make_record()
    await store.save([Swap(None, record)])
    administrator.kill_connections()
    assert await store.load([record.key]) == {record.key: record}, "a load is asked again"
    with pytest.raises(StoreUnavailable):  # whether a save was done, nobody knows
        await store.save([Swap(None, make_record())])
    assert await works(store)
    await store.aclose()


async def test_a_caller_that_is_cancelled_harms_nobody(
    served: tuple[str, Administrator],
) -> None:
    url, administrator = served
    store = open_store(url)
    assert await works(store)
    with administrator.locked():
        waiting = asyncio.ensure_future(store.load([make_record().key]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await works(store)
    await store.aclose()


def without_server(url: str) -> str:
    return make_url(url).set(port=1).render_as_string(hide_password=False)


def with_another_password(url: str) -> str:
    return make_url(url).set(password="hush").render_as_string(hide_password=False)


@pytest.mark.parametrize("change", [without_server, with_another_password])
async def test_a_server_that_cannot_be_reached_is_named_without_the_password(
    served: tuple[str, Administrator], change: Callable[[str], str]
) -> None:
    store = open_store(change(served[0]))
    with pytest.raises(StoreUnavailable) as caught:
        await store.load([make_record().key])
    assert str(caught.value).startswith("the session store failed: ")
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)
    await store.aclose()
