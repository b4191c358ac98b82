"""The store's address leads to another server, while the one before lives on and takes no writes.

The servers are a real pair: the second one replicates the first. The way to them is a proxy, which
changes only where *new* connections lead, as a name in the DNS or a load balancer does.
"""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

import pytest
from every_store import SQL_SERVERS
from services import missing

from bench.faults.databases import ServerDatabase
from bench.faults.proxy import Proxy
from bench.faults.started import database_of
from hello_tornado.sessions import Store, open_store
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import Saved, SessionRecord, Swap
from hello_tornado.sessions.testing import make_record, newer

KINDS = [*SQL_SERVERS, "redis"]


@asynccontextmanager
async def pair_of(kind: str) -> AsyncIterator[tuple[ServerDatabase, str]]:
    """A server with its replica, and a URL that leads to the one that takes writes."""
    try:
        async with database_of(kind, with_twin=True) as (database, _):
            assert isinstance(database, ServerDatabase)
            async with Proxy(lambda: database.leading_port).listening() as proxy:
                yield database, database.url(proxy.port)
    except FileNotFoundError as error:
        missing(str(error))


class Visitor:
    """Creates, saves and deletes without a pause, and remembers what was acknowledged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.kept: dict[SessionKey, SessionRecord] = {}
        self.deleted: set[SessionKey] = set()
        self.refusals: list[StoreUnavailable] = []

    async def visit(self) -> None:
        """One round, or a part of it and a refusal; what that one asked for is unknown."""
        record, dead = make_record(), make_record()
        try:
            assert await self._store.save([Swap(None, record)]) == [Saved()]
            self.kept[record.key] = record
            await self._store.save([Swap(None, dead)])
            assert await self._store.delete([dead.key]) == {dead.key}
            self.deleted.add(dead.key)
            new = newer(self.kept.pop(record.key))  # either of the two may be stored, if it fails
            assert await self._store.save([Swap(record, new)]) == [Saved()]
            self.kept[new.key] = new
        except StoreUnavailable as error:
            self.refusals.append(error)
            await asyncio.sleep(0.01)

    async def visit_until(self, done: asyncio.Future[None]) -> None:
        """Rounds, until *done* and one more that was not refused."""
        while not done.done():
            await self.visit()
        refused = None
        while refused != len(self.refusals):
            refused = len(self.refusals)
            await self.visit()


async def rounds(visitors: Collection[Visitor], done: "asyncio.Future[None]") -> None:
    await asyncio.gather(*(visitor.visit_until(done) for visitor in visitors))


@pytest.mark.timeout(120)
@pytest.mark.gen_test(timeout=110)
@pytest.mark.parametrize("kind", KINDS)
async def test_after_a_failover_the_held_connections_lead_to_the_new_server(kind: str) -> None:
    async with pair_of(kind) as (database, url):
        store = open_store(url)
        before = make_record()
        await store.save([Swap(None, before)])
        await store.load([before.key])
        await store.count()
        visitors = [Visitor(store) for _ in range(4)]
        done = asyncio.ensure_future(asyncio.to_thread(database.fail_over))
        async with asyncio.timeout(20):
            await rounds(visitors, done)
        await done
        assert any(visitor.refusals for visitor in visitors), "the old server was used, and refused"
        assert await store.count() == await open_and_count(database), "of the new server"
        for visitor in visitors:
            assert visitor.kept
            assert await store.load([*visitor.kept, *visitor.deleted]) == visitor.kept
        assert await store.load([before.key]) == {before.key: before}
        assert await store.delete([before.key]) == {before.key}
        await store.aclose()


@pytest.mark.timeout(120)
@pytest.mark.gen_test(timeout=110)
@pytest.mark.parametrize("kind", KINDS)
async def test_whoever_only_reads_leaves_the_server_that_was_demoted(kind: str) -> None:
    async with pair_of(kind) as (database, _):
        ports = [database.port]
        async with Proxy(lambda: ports[-1]).listening() as proxy:
            url = database.url(proxy.port)
            reading, record = open_store(url), make_record()
            await reading.save([Swap(None, record)])
            assert await reading.load([record.key]) == {record.key: record}
            await asyncio.to_thread(database.fail_over)
            late = open_store(url)  # the address leads to the old server for a moment more
            assert await late.load([record.key]) == {record.key: record}
            ports.append(database.leading_port)
            elsewhere = open_store(database.url(database.leading_port))
            assert await elsewhere.delete([record.key]) == {record.key}, "a logout elsewhere"
            for store in (reading, late):
                await until_nothing(functools.partial(store.load, [record.key]))
                await until_nothing(store.count)
            for store in (reading, late, elsewhere):
                await store.aclose()


async def until_nothing(ask: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(10):
        while True:
            if not await ask():
                return
            await asyncio.sleep(0.05)


async def open_and_count(database: ServerDatabase) -> int:
    store = open_store(database.url(database.leading_port))
    try:
        return await store.count()
    finally:
        await store.aclose()
