"""A store where a client of the application leads."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.sentinel import Sentinel
from services import free_port, redis_node, redis_sentinel

from hello_tornado.sessions import Store
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.records.record import Saved, Swap
from hello_tornado.sessions.stores.redis.store import RedisStore
from hello_tornado.sessions.testing import StoreContract, make_record


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server that has a user of the application's."""
    with redis_node("--user", *["app", "on", ">open-sesame", "~*", "&*", "+@all"]) as port:
        yield port


class TestStoreOfAClient(StoreContract):
    @pytest.fixture(autouse=True)
    def client(self, port: int) -> None:
        with redis.Redis(port=port) as client:
            client.flushall()
        self.port = port

    def make_store(self) -> Store:
        client = Redis(
            port=self.port,
            db=3,
            username="app",
            password="open-sesame",
            decode_responses=True,
            protocol=3,
        )
        return RedisStore.from_client(client, prefix="sessions_of_app")


@pytest.mark.gen_test
async def test_the_client_stays_the_applications(port: int) -> None:
    client = Redis(port=port, db=4, decode_responses=True)
    store = RedisStore.from_client(client, prefix="mine", timeout=1.5)
    record = make_record()
    assert await store.save([Swap(None, record)]) == [Saved()]
    assert store.limit_seconds == 1.5
    assert str(store) == f"redis://localhost:{port}/4"
    await store.aclose()
    assert await client.keys("{mine}:handle:*") == [f"{{mine}}:handle:{record.handle}"]
    assert await client.dbsize() == 3, "and nothing under another name"
    await client.aclose()


@pytest.mark.gen_test(timeout=30)
async def test_a_client_of_a_cluster_and_one_of_sentinels_lead_there(
    redis_cluster_url: str, port: int
) -> None:
    host, cluster_port = redis_cluster_url.removeprefix("redis+cluster://").split(",")[0].split(":")
    cluster = RedisCluster(host=host, port=int(cluster_port))
    await works(RedisStore.from_client(cluster, prefix="of_a_client"))
    assert await cluster.ping()
    await cluster.aclose()
    sentinel_port = free_port()
    with redis_sentinel(port, port=sentinel_port, password="guard"):
        manager = Sentinel([("127.0.0.1", sentinel_port)], sentinel_kwargs={"password": "guard"})
        client = manager.master_for("sessions", db=5)
        store = RedisStore.from_client(client)
        assert str(store) == f"redis+sentinel://127.0.0.1:{sentinel_port}/sessions/5"
        await works(store)
        with redis.Redis(port=port, db=5) as looking:
            assert looking.dbsize() == 3
        await client.aclose()


async def works(store: Store) -> None:
    record = make_record()
    assert await store.save([Swap(None, record)]) == [Saved()]
    assert await store.load([record.key]) == {record.key: record}
    await store.aclose()


@pytest.mark.parametrize("client", [redis.Redis(), "redis://localhost", None])
def test_what_is_no_client_of_asyncio_is_refused(client: object) -> None:
    with pytest.raises(ConfigurationError, match=r"a client of redis\.asyncio, and not"):
        RedisStore.from_client(client)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prefix": "{a}"}, "a word without braces"),
        ({"prefix": ""}, "a word without braces"),
        ({"prefix": b"a"}, "a word without braces"),
        ({"wait_replicas": "1"}, "a whole number of at least 1"),
        ({"wait_replicas": -1}, "a whole number of at least 1"),
        ({"wait_replicas": True}, "a whole number of at least 1"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_an_argument_that_cannot_work_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        RedisStore.from_client(Redis(), **arguments)


@pytest.mark.gen_test
async def test_what_the_client_does_at_each_connection_is_done(port: int) -> None:
    connected = []

    async def connect(connection: Any) -> None:
        connected.append(connection)
        await connection.on_connect()

    client = Redis(port=port, redis_connect_func=connect)
    await works(RedisStore.from_client(client, prefix="connecting"))
    assert len(connected) == 2, "the reader and the writer"
    await client.aclose()


@pytest.mark.gen_test
async def test_the_addresses_of_a_cluster_are_those_that_the_client_uses(
    redis_cluster_url: str,
) -> None:
    real = redis_cluster_url.removeprefix("redis+cluster://").split("?")[0].split(",")[0]
    host, cluster_port = real.split(":")
    asked = []

    def remap(address: tuple[str, int]) -> tuple[str, int]:
        asked.append(address)
        return address

    client = RedisCluster(host=host, port=int(cluster_port), address_remap=remap)
    await works(RedisStore.from_client(client, prefix="of_a_client"))
    assert asked
    await client.aclose()
