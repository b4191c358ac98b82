"""Two MariaDB nodes of a Galera cluster, and a process at each of them."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pymysql
import pytest
from services import is_synced
from sqlalchemy import URL, Connection, event, make_url

from hello_tornado.sessions import SessionManager, Store, open_store
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.records.ids import SessionId
from hello_tornado.sessions.records.record import Conflict, Gone, Saved, SessionRecord, Swap
from hello_tornado.sessions.stores.failures import TakenBack
from hello_tornado.sessions.stores.sql.statements import PURGE_LOCK
from hello_tornado.sessions.stores.sql.store import SqlStore
from hello_tornado.sessions.testing import NOW, StoreContract, make_record, newer, renewed

pytestmark = pytest.mark.gen_test(timeout=30)

ROUNDS = 100


class TestFirstNode(StoreContract):
    node = 0

    @pytest.fixture(autouse=True)
    def database(self, galera_urls: tuple[str, str]) -> None:
        self.url = galera_urls[self.node]

    def make_store(self) -> Store:
        return open_store(self.url)


class TestSecondNode(TestFirstNode):
    node = 1


@contextmanager
def administrator(url: str) -> Iterator[Callable[[str], Any]]:
    """Runs statements at the node of *url*, and returns their first row."""
    node = make_url(url)
    with (
        pymysql.connect(
            host=node.host,
            port=node.port or 0,
            user=node.username,
            password=str(node.password),
            database=node.database,
            autocommit=True,
        ) as connection,
        connection.cursor() as cursor,
    ):

        def ask(statement: str) -> Any:
            cursor.execute(statement)
            return cursor.fetchone()

        yield ask


@asynccontextmanager
async def stores_at(urls: tuple[str, str]) -> AsyncIterator[tuple[Store, Store]]:
    here, there = map(open_store, urls)
    try:
        yield here, there
    finally:
        await here.aclose()
        await there.aclose()


@contextmanager
def lagging(url: str) -> Iterator[None]:
    """The node of *url* applies nothing that another one has committed, until the end."""
    with administrator(url) as ask:
        ask("FLUSH TABLES WITH READ LOCK")
        try:
            yield
        finally:
            ask("UNLOCK TABLES")


async def until(condition: Callable[[], bool]) -> None:
    while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - a server has no event for us
        await asyncio.sleep(0.02)


async def until_it_waits(url: str, task: "asyncio.Future[Any]") -> None:
    """Return when *task* waits at the node for what it has not got; it must not have answered."""
    query = (
        "SELECT count(*) FROM information_schema.processlist WHERE command = 'Query' "
        "AND db = database() AND id <> connection_id() AND time_ms > 100"
    )
    with administrator(url) as ask:
        await until(lambda: task.done() or ask(query) != (0,))
    assert not task.done(), task


async def test_each_connection_waits_for_the_other_nodes(galera_urls: tuple[str, str]) -> None:
    ask = "SELECT @@wsrep_sync_wait, @@wsrep_dirty_reads"
    store = open_store(galera_urls[0])
    assert isinstance(store, SqlStore)
    for run in (store.database.read, store.database.scan, store.database.write):
        assert await run(lambda connection: connection.exec_driver_sql(ask).one()) == (3, 0)
    await store.aclose()


async def test_what_one_node_has_answered_is_read_at_the_other(
    galera_urls: tuple[str, str],
) -> None:
    async with stores_at(galera_urls) as (here, there):
        await there.count()
        questions: list[tuple[Callable[[SessionRecord], Awaitable[Any]], Any]] = [
            (lambda one: there.load([one.key]), lambda one: {one.key: one}),
            (lambda _one: there.find_by_user("ada"), lambda one: [one.facts]),
            (lambda one: there.find_by_handle([one.handle]), lambda one: [one]),
            (lambda _one: there.page(None, 2), lambda one: [one.facts]),
            (lambda _one: there.count(), lambda _one: 1),
            (lambda one: there.save([Swap(one, newer(one))]), lambda _one: [Saved()]),
            (lambda one: there.delete([one.key]), lambda one: {one.key}),
        ]
        for ask, expected in questions:
            record = make_record(user_id="ada")
            with lagging(galera_urls[1]):
                await here.save([Swap(None, record)])
                answer = asyncio.ensure_future(ask(record))
                await until_it_waits(galera_urls[1], answer)
            assert await answer == expected(record)
            await there.delete([record.key])


async def test_a_logout_at_one_node_is_final_at_the_other(galera_urls: tuple[str, str]) -> None:
    async with stores_at(galera_urls) as (here, there):
        late: list[tuple[Callable[[SessionRecord], Awaitable[Any]], Any]] = [
            (lambda one: there.load([one.key]), {}),
            (lambda one: there.save([Swap(one, newer(one))]), [Gone()]),
            (lambda one: there.save([Swap(one, renewed(one))]), [Gone()]),
            (lambda one: there.touch([one._replace(accessed_at=NOW + 5)]), None),
        ]
        for ask, expected in late:
            record = make_record()
            await there.save([Swap(None, record)])
            with lagging(galera_urls[1]):
                assert await here.delete([record.key]) == {record.key}
                answer = asyncio.ensure_future(ask(record))
                await until_it_waits(galera_urls[1], answer)
            assert await answer == expected
            assert await there.load([record.key]) == await here.load([record.key]) == {}
            assert await there.count() == 0


async def test_of_parallel_saves_at_both_nodes_one_wins_each_version(
    galera_urls: tuple[str, str],
) -> None:
    async with stores_at(galera_urls) as stores:
        first = make_record()
        await stores[0].save([Swap(None, first)])

        async def fight(store: Store, name: str) -> list[SessionRecord]:
            current, won = first, []
            for number in range(ROUNDS):
                new = newer(current, data=f"{name} {number}".encode())
                (outcome,) = await store.save([Swap(current, new)])
                if outcome == Saved():
                    won.append(new)
                    current = new
                else:
                    assert isinstance(outcome, Conflict)
                    current = outcome.current
            return won

        won = [*await asyncio.gather(fight(stores[0], "here"), fight(stores[1], "there"))]
        versions = sorted(record.version for records in won for record in records)
        assert versions == [*range(first.version + 1, first.version + 1 + len(versions))]
        (last,) = [one for records in won for one in records if one.version == versions[-1]]
        for store in stores:
            assert await store.load([first.key]) == {first.key: last}


async def begun(manager: SessionManager, **data: Any) -> SessionId:
    session = await manager.open(None)
    session.update(data)
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    return action.session_id


async def test_every_increment_at_both_nodes_survives(galera_urls: tuple[str, str]) -> None:
    managers = [SessionManager(url, log=False) for url in galera_urls]
    session_id = await begun(managers[0], n=0)

    async def count(manager: SessionManager) -> None:
        for _ in range(ROUNDS // 4):
            session = await manager.open(session_id)
            assert not session.is_new
            session.increment("n")
            await manager.commit(session)

    await asyncio.gather(*(count(manager) for manager in managers for _ in range(4)))
    for manager in managers:
        assert dict(await manager.open(session_id)) == {"n": 8 * (ROUNDS // 4)}
        await manager.aclose()


async def test_a_login_at_one_node_is_known_at_the_other_at_once_and_so_is_its_end(
    galera_urls: tuple[str, str],
) -> None:
    managers = [SessionManager(url, log=False) for url in galera_urls]
    for number in range(20):
        here, there = managers if number % 2 else managers[::-1]
        session = await here.open(await begun(here, n=number))
        session.login("ada")
        action = await here.commit(session)
        assert isinstance(action, Issue)
        elsewhere = await there.open(action.session_id)
        assert elsewhere.user_id == "ada"
        session.destroy()
        await here.commit(session)
        assert (await there.open(action.session_id)).is_new
        elsewhere["n"] = "late"
        await there.commit(elsewhere)
        for manager in managers:
            assert (await manager.open(action.session_id)).is_new
    for manager in managers:
        await manager.aclose()


async def test_the_table_is_made_once_when_both_nodes_want_to_make_it(
    galera_urls: tuple[str, str],
) -> None:
    for _ in range(10):
        async with stores_at(galera_urls) as stores:
            records = [make_record(), make_record()]
            both = zip(stores, records, strict=True)
            saves = [store.save([Swap(None, record)]) for store, record in both]
            assert await asyncio.gather(*saves) == [[Saved()], [Saved()]]
            assert await stores[0].count() == len(records)
        with administrator(galera_urls[0]) as ask:
            ask("DROP TABLE sessions")


async def test_two_nodes_purge_at_once_and_each_session_is_deleted_by_one(
    galera_urls: tuple[str, str],
) -> None:
    async with stores_at(galera_urls) as stores:
        dead = [make_record(expires_at=NOW - n) for n in range(200)]
        alive = make_record()
        await stores[0].save([Swap(None, one) for one in (*dead, alive)])

        async def purge(store: Store) -> int:
            purged = 0
            while some := await store.purge(NOW, 20):
                purged += some
            return purged

        assert sum(await asyncio.gather(*map(purge, stores))) == len(dead)
        assert await stores[1].page(None, 2) == [alive.facts]


@pytest.mark.parametrize("moment", ["DELETE", "SELECT release_lock", "COMMIT"])
async def test_a_purge_that_the_other_node_takes_back_leaves_no_lock(
    galera_urls: tuple[str, str], moment: str
) -> None:
    moments = [moment]

    def purge_beside_another(connection: Connection, purge: Callable[..., int]) -> int:
        def delete_at_the_other_node(statement: str) -> None:
            if moments and statement.startswith(moments[0]):
                moments.clear()
                with administrator(galera_urls[0]) as there, administrator(galera_urls[1]) as here:
                    there("DELETE FROM sessions")
                    here("SET SESSION wsrep_sync_wait = 1")
                    assert here("SELECT count(*) FROM sessions") == (0,)

        event.listen(
            connection,
            "before_cursor_execute",
            lambda _connection, _cursor, statement, *_: delete_at_the_other_node(statement),
        )
        return purge(connection, NOW, 10)

    async with stores_at(galera_urls) as (here, there):
        await here.save([Swap(None, make_record(expires_at=NOW - 1))])
        assert await there.count() == 1
        assert isinstance(there, SqlStore)
        with suppress(TakenBack):
            await there.database.write(purge_beside_another, there._statements.purge)
        assert not moments
        for url in galera_urls:
            with administrator(url) as ask:
                table = "MD5(CONCAT(DATABASE(), '.sessions'))"
                is_free = ask(f"SELECT IS_FREE_LOCK(CONCAT('{PURGE_LOCK} ', {table}))")
                assert is_free == (1,)
        assert await there.purge(NOW, 10) == 0


async def test_a_node_that_has_lost_the_others_is_unavailable_until_it_is_back(
    galera_urls: tuple[str, str], galera_cluster: tuple[URL, URL]
) -> None:
    async with stores_at(galera_urls) as (here, there):
        record = make_record()
        await there.save([Swap(None, record)])
        questions = (
            functools.partial(there.load, [record.key]),
            functools.partial(there.save, [Swap(record, newer(record))]),
            functools.partial(there.delete, [record.key]),
            there.count,
        )
        with administrator(galera_urls[1]) as ask:
            ask("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'")
            try:
                await until(lambda: ask("SHOW STATUS LIKE 'wsrep_cluster_status'")[1] != "Primary")
                for question in (*questions, *questions):
                    with pytest.raises(StoreUnavailable):
                        await question()
                assert await here.save([Swap(record, newer(record))]) == [Saved()]
            finally:
                ask("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'")
        await until(lambda: is_synced(galera_cluster[1]))
        assert await there.load([record.key]) == {record.key: newer(record)}
        assert await there.save([Swap(newer(record), newer(newer(record)))]) == [Saved()]
        assert await here.load([record.key]) == {record.key: newer(newer(record))}
