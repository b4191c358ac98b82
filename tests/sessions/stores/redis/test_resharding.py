"""While a cluster moves slots nothing is lost: a call is right, or refused and has done nothing."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self, cast

import pytest
from redis import Redis
from redis import RedisCluster as SyncCluster
from redis.crc import key_slot
from services import redis_nodes_of_a_cluster

from hello_tornado.sessions import Session, SessionManager, Store, open_store
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.records.ids import SessionId, SessionKey
from hello_tornado.sessions.records.lifetimes import system_clock
from hello_tornado.sessions.records.record import AGAIN, Saved, SessionRecord, Swap
from hello_tornado.sessions.stores.redis.store import RedisStore
from hello_tornado.sessions.testing import HOUR, NOW, make_record, newer

pytestmark = pytest.mark.gen_test(timeout=60)

TAG = 9  # whose slot is moved


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with redis_nodes_of_a_cluster(replicas=0) as url:
        yield url


@asynccontextmanager
async def store_in(cluster: str) -> AsyncIterator[RedisStore]:
    store = open_store(f"{cluster}?timeout=1&prefix={secrets.token_hex(6)}")
    try:
        yield cast("RedisStore", store)
    finally:
        await store.aclose()


class SlotMove:
    """Moves the slot of a name to another master, as slowly as the caller likes."""

    def __init__(self, url: str, name: str) -> None:
        host, port = url.removeprefix("redis+cluster://").partition(",")[0].split(":")
        self._slot = key_slot(name.encode())
        with SyncCluster(host, int(port)) as cluster:
            source = cluster.get_node_from_key(name)
            nodes = [Redis(node.host, node.port) for node in cluster.get_primaries()]
        assert source is not None
        self._nodes = sorted(nodes, key=lambda one: self._port(one) != source.port)
        self._ids = [bytes(self._ask(node, "CLUSTER", "MYID")).decode() for node in self._nodes]

    def __enter__(self) -> Self:
        source, target, *_ = self._nodes
        self._ask(target, "CLUSTER", "SETSLOT", self._slot, "IMPORTING", self._ids[0])
        self._ask(source, "CLUSTER", "SETSLOT", self._slot, "MIGRATING", self._ids[1])
        return self

    def names(self) -> list[bytes]:
        """What has not been moved."""
        return list(self._ask(self._nodes[0], "CLUSTER", "GETKEYSINSLOT", self._slot, 1000))

    def move(self, name: bytes) -> None:
        source, target, *_ = self._nodes
        port = self._port(target)
        self._ask(source, "MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", name)

    def __exit__(self, *_: object) -> None:
        for name in self.names():
            self.move(name)
        for node in (self._nodes[1], self._nodes[0], *self._nodes[2:]):
            self._ask(node, "CLUSTER", "SETSLOT", self._slot, "NODE", self._ids[1])
            node.close()

    @staticmethod
    def _port(node: Redis) -> int:
        return int(cast("Any", node).connection_pool.connection_kwargs["port"])

    @staticmethod
    def _ask(node: Redis, *command: Any) -> Any:
        return cast("Any", node).execute_command(*command)


def key() -> SessionKey:
    return SessionKey(bytes([TAG]) + secrets.token_bytes(31))


@dataclass
class Model:
    """What was answered, and what therefore must stand; each method is one call to *store*."""

    store: Store
    records: dict[SessionKey, SessionRecord] = field(default_factory=dict)
    refused: int = 0

    async def create(self) -> None:
        await self._swap(Swap(None, make_record(key=key(), user_id=random.choice([None, "ada"]))))

    async def change(self) -> None:
        record = self._any()
        await self._swap(Swap(record, newer(record, user_id=random.choice([None, "ada", "bob"]))))

    async def renew(self) -> None:
        record = self._any()
        await self._swap(Swap(record, newer(record, key=key())))

    async def touch(self) -> None:
        record = self._any()
        touched = record._replace(accessed_at=record.accessed_at + 1, expires_at=NOW + 2 * HOUR)
        await self.store.touch([touched])
        self.records[record.key] = touched

    async def delete(self) -> None:
        ended = [self._any().key, key()]
        assert await self.store.delete(ended) == {ended[0]}
        del self.records[ended[0]]

    async def load(self) -> None:
        assert await self.store.load([*self.records, key()]) == self.records

    async def find_by_user(self) -> None:
        expected = {one.key for one in self.records.values() if one.user_id == "ada"}
        assert {one.key for one in await self.store.find_by_user("ada")} == expected

    async def find_by_handle(self) -> None:
        record = self._any()
        assert await self.store.find_by_handle([record.handle, "a" * 20]) == [record]

    async def page(self) -> None:
        order = sorted(self.records.values(), key=lambda one: (one.expires_at, one.key))
        assert await self.store.page(None, 1000) == [one.facts for one in order]
        assert await self.store.page(order[0], 2) == [one.facts for one in order[1:3]]

    async def count(self) -> None:
        assert await self.store.count() == len(self.records)

    async def purge(self) -> None:
        assert await self.store.purge(NOW, 10) == 0

    def steps(self) -> list[Callable[[], Any]]:
        writes = [self.create, self.change, self.renew, self.touch, self.delete]
        reads = [self.find_by_user, self.find_by_handle, self.page, self.count, self.purge]
        return [*writes, *reads]

    async def _swap(self, swap: Swap) -> None:
        [outcome] = await self.store.save([swap])
        if outcome is AGAIN:
            self.refused += 1
            return
        assert outcome == Saved()
        if swap.old is not None:
            del self.records[swap.old.key]
        self.records[swap.new.key] = swap.new

    def _any(self) -> SessionRecord:
        return random.choice([*self.records.values()])


@pytest.mark.parametrize("seed", range(2))
async def test_at_each_point_of_a_move_a_call_is_right_or_refused(cluster: str, seed: int) -> None:
    random.seed(seed)
    async with store_in(cluster) as store:
        model = Model(store)
        for _ in range(5):
            await model.create()
        steps = model.steps()
        with SlotMove(cluster, store._masters.indexes[TAG]) as move:
            while (names := move.names()) and len(model.records) > 2:
                move.move(random.choice(names))
                await model.load()  # is never refused
                for step in random.sample(steps, 2):
                    try:
                        await step()
                    except StoreUnavailable:
                        model.refused += 1
        for step in (*steps, model.load):
            await step()
        assert model.refused


async def test_a_user_is_signed_out_everywhere_or_is_told_that_it_failed(cluster: str) -> None:
    async with store_in(cluster) as store:
        manager = SessionManager(store, log=False)
        now = system_clock()
        record = make_record(key=key(), user_id="ada", data=b"{}", expires_at=now + HOUR)
        await store.save([Swap(None, record)])
        with SlotMove(cluster, store._masters.indexes[TAG]) as move:
            move.move(store._masters.indexes[TAG].replace("expiries", 'user:"ada"').encode())
            with pytest.raises(StoreUnavailable):
                await manager.revoke_user("ada")
        assert await manager.revoke_user("ada") == 1
        assert await store.load([record.key]) == {}


async def test_no_update_is_lost_and_no_logout_undone_while_a_third_of_the_slots_moves(
    cluster: str,
) -> None:
    ended: list[SessionId] = []
    url = f"{cluster}?prefix={secrets.token_hex(6)}"
    async with SessionManager(url, log=False) as here, SessionManager(url, log=False) as there:
        visitors = [Visitor(here, there) for _ in range(60)]
        for visitor in visitors:
            await visitor.log_in()
        process = await move_a_third(cluster)
        moved = asyncio.ensure_future(process.communicate())
        while not moved.done():
            await asyncio.gather(*(visitor.visit(ended) for visitor in visitors))
        await moved
        assert process.returncode == 0
        for visitor in visitors:
            session = await here.open(visitor.session_id)
            assert visitor.answered <= session["n"] <= visitor.answered + visitor.unknown
        for session_id in ended:
            assert (await there.open(session_id)).is_new
    assert ended


async def move_a_third(cluster: str) -> asyncio.subprocess.Process:
    first, second, *_ = cluster.removeprefix("redis+cluster://").split(",")
    ids = []
    for address in (first, second):
        with Redis(*address.split(":")) as node:  # type: ignore[arg-type]
            ids.append(bytes(cast("Any", node).execute_command("CLUSTER", "MYID")).decode())
    slots = ["--cluster-slots", "5000", "--cluster-yes", "--cluster-pipeline", "1"]
    return await asyncio.create_subprocess_exec(
        *("redis-cli", "--cluster", "reshard", first),
        *("--cluster-from", ids[0], "--cluster-to", ids[1], *slots),
        stdout=asyncio.subprocess.DEVNULL,
    )


class Visitor:
    """Counts in a session, in two processes in turn, and logs out and in again at times."""

    def __init__(self, *managers: SessionManager) -> None:
        self._managers = managers
        self.session_id = SessionId("")
        self.answered = self.unknown = 0

    async def log_in(self) -> None:
        session = await self._managers[0].open(None)
        session["n"] = self.answered = self.unknown = 0
        session.login("ada")
        action = await self._managers[0].commit(session)
        assert isinstance(action, Issue)
        self.session_id = action.session_id

    async def visit(self, ended: list[SessionId]) -> None:
        manager = random.choice(self._managers)
        try:
            session = await manager.open(self.session_id)
        except StoreUnavailable:
            return
        assert not session.is_new
        if random.random() < 0.02:
            await self._log_out(manager, session, ended)
            return
        session.increment("n")
        try:
            await manager.commit(session)
        except StoreUnavailable:
            self.unknown += 1
        else:
            self.answered += 1

    async def _log_out(
        self, manager: SessionManager, session: Session, ended: list[SessionId]
    ) -> None:
        while True:
            session.destroy()
            try:
                await manager.commit(session)
                break
            except StoreUnavailable:
                session = await manager.open(self.session_id)
                if session.is_new:
                    break
        ended.append(self.session_id)
        while True:
            try:
                await self.log_in()
            except StoreUnavailable:
                continue
            return
