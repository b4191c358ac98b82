"""A cluster spreads its sessions over its masters, and the loss of one costs only its share."""

import asyncio
import os
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import pytest
from redis import Redis, RedisCluster
from services import redis_nodes_of_a_cluster

from hello_tornado.sessions import SessionManager, Store, open_store
from hello_tornado.sessions.errors import ConfigurationError, StoreError, StoreUnavailable
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.records.ids import SessionId, SessionKey, key_of
from hello_tornado.sessions.records.record import Saved, SessionRecord, Swap
from hello_tornado.sessions.records.tombstones import tombstone_key_of
from hello_tornado.sessions.stores import Announcing, Placement
from hello_tornado.sessions.stores.batched_store import BatchedStore
from hello_tornado.sessions.stores.moving import moving_store
from hello_tornado.sessions.stores.redis.store import RedisStore
from hello_tornado.sessions.testing import HOUR, NOW, make_record, newer

pytestmark = pytest.mark.gen_test(timeout=60)


def placement_of(store: Any) -> Placement:
    placement: Placement = store.placement
    return placement


async def save_new(store: Store, *records: SessionRecord) -> None:
    assert await store.save([Swap(None, record) for record in records]) == [Saved()] * len(records)


def address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("redis+cluster://").partition(",")[0].split(":")
    return host, int(port)


def masters_of(url: str) -> list[Redis]:
    with RedisCluster(*address(url)) as cluster:
        return [Redis(node.host, node.port) for node in cluster.get_primaries()]


async def test_three_masters_hold_a_third_each(redis_cluster_url: str) -> None:
    store = open_store(redis_cluster_url)
    for start in range(0, 3000, 250):  # chance would miss the limits once in 200 times
        keys = [bytes([n % 256]) + secrets.token_bytes(31) for n in range(start, start + 250)]
        await save_new(store, *(make_record(key=SessionKey(key), user_id="ada") for key in keys))
    prefix = redis_cluster_url.rpartition("=")[2]
    shares = []
    for master in masters_of(redis_cluster_url):
        with master:
            shares.append(sum(1 for _ in master.scan_iter(f"{{{prefix}:*}}:record:*", 1000)))
    assert sum(shares) == 3000
    assert all(900 <= share <= 1100 for share in shares), shares
    assert await store.count() == 3000
    assert len(await store.find_by_user("ada")) == 3000
    await store.aclose()


async def test_pages_are_in_order_and_whole_whatever_the_tags_hold(redis_cluster_url: str) -> None:
    store = open_store(redis_cluster_url)
    spread = [make_record(expires_at=NOW + n % 7) for n in range(150)]
    one_tag = [
        make_record(key=SessionKey(bytes([9]) + secrets.token_bytes(31)), expires_at=NOW + n % 3)
        for n in range(80)
    ]
    records = sorted(spread + one_tag, key=lambda one: (one.expires_at, one.key))
    await save_new(store, *records)
    for limit in (1, 7, 64, 100, 1000):
        seen: list[SessionKey] = []
        after = None
        while page := await store.page(after, limit):
            assert len(page) == min(limit, len(records) - len(seen))
            seen += [one.key for one in page]
            after = page[-1]
        assert seen == [one.key for one in records], limit
    await store.aclose()


@pytest.mark.parametrize("is_moving", [False, True])
async def test_no_page_is_short_because_of_entries_whose_records_have_gone(
    redis_cluster_url: str, is_moving: bool
) -> None:
    old = open_store(redis_cluster_url)
    store = moving_store(open_store("memory://"), old) if is_moving else old
    records = [make_record(expires_at=NOW + n) for n in range(600)]
    await save_new(old, *records)
    gone = {record.key for record in records if record.expires_at % 3 == 0}
    for master in masters_of(redis_cluster_url):
        with master:
            for name in master.scan_iter("*:record:*", 1000):
                if name[-32:] in gone:
                    master.delete(name)  # as its time to live would
    alive = [record.key for record in records if record.key not in gone]
    seen: list[SessionKey] = []
    after = None
    while page := await store.page(after, 130):
        assert len(page) == min(130, len(alive) - len(seen))
        seen += [one.key for one in page]
        after = page[-1]
    assert seen == alive
    await old.aclose()


async def test_a_purge_takes_as_many_as_it_may_wherever_they_are(redis_cluster_url: str) -> None:
    store = open_store(redis_cluster_url)
    dead = [
        make_record(key=SessionKey(bytes([9]) + secrets.token_bytes(31)), expires_at=NOW)
        for _ in range(100)
    ]
    await save_new(store, *dead, *(make_record(expires_at=NOW) for _ in range(50)))
    counts = [await store.purge(NOW + 1, limit) for limit in (3, 64, 70, 1000)]
    assert counts == [3, 64, 70, 13]
    await store.aclose()


async def test_a_swap_to_another_tag_is_refused_and_harms_no_neighbour(
    redis_cluster_url: str,
) -> None:
    store = open_store(redis_cluster_url)
    one, two = make_record(), make_record()
    await save_new(store, one, two)
    far = SessionKey(bytes([one.key[0] ^ 1]) + one.key[1:])
    batched = BatchedStore(store)
    outcomes = await asyncio.gather(
        batched.swap(Swap(one, newer(one, key=far))),
        batched.swap(Swap(two, newer(two))),
        return_exceptions=True,
    )
    assert isinstance(outcomes[0], StoreError)
    assert "keeps to one hash tag" in str(outcomes[0])
    assert outcomes[1] == Saved()
    assert await store.load([one.key, far]) == {one.key: one}
    await store.aclose()


async def test_renewals_stay_in_their_partition_with_their_tombstones(
    redis_cluster_url: str,
) -> None:
    async with SessionManager(redis_cluster_url, log=False) as manager:
        placement = placement_of(manager.store)
        session = await manager.open(None)
        session["n"] = 1
        action = await manager.commit(session)
        for _ in range(8):
            assert isinstance(action, Issue)
            key = key_of(action.session_id)
            assert placement.partition_of(tombstone_key_of(key)) == placement.partition_of(key)
            session = await manager.open(action.session_id)
            session.login("ada")
            session["n"] += 1
            renewed = await manager.commit(session)
            assert isinstance(renewed, Issue)
            new_key = key_of(renewed.session_id)
            assert new_key != key
            assert placement.partition_of(new_key) == placement.partition_of(key)
            action = renewed
        assert session["n"] == 9
        assert len(await manager.sessions_of("ada")) == 1


async def test_ids_that_are_not_random_are_refused_at_a_renewal(redis_cluster_url: str) -> None:
    ids = iter(["first" * 6])

    def genid(_request: object) -> str:
        return next(ids, "second" * 6)

    async with SessionManager(redis_cluster_url, log=False, genid=genid) as manager:
        placement = placement_of(manager.store)
        session = await manager.open(None)
        session["n"] = 1
        await manager.commit(session)
        assert session.record is not None
        second = key_of(SessionId("second" * 6))
        assert placement.partition_of(session.record.key) != placement.partition_of(second)
        session.renew()
        with pytest.raises(ConfigurationError, match="its ids must be random"):
            await manager.commit(session)


@pytest.fixture
def cluster() -> Iterator[str]:
    """Three masters without replicas, which serve what they have while another one is lost."""
    with redis_nodes_of_a_cluster("--cluster-require-full-coverage", "no", replicas=0) as url:
        yield url


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["lost", "hangs"])
async def test_a_master_that_is_lost_costs_its_third_only(cluster: str, blow: int) -> None:
    store = open_store(f"{cluster}?timeout=2")
    batched, placement = BatchedStore(store), placement_of(store)
    records = [make_record(expires_at=NOW + HOUR) for _ in range(300)]
    await asyncio.gather(*(batched.swap(Swap(None, record)) for record in records))
    await asyncio.gather(*(batched.load(record.key) for record in records))
    server_of = {record: str(placement.server_of(record.key)) for record in records}
    assert len(Counter(server_of.values())) == 3

    async def use(record: SessionRecord) -> None:
        assert await batched.load(record.key) == record
        await batched.touch(record._replace(accessed_at=NOW + 1))
        assert await batched.load(record.key) != record
        ended = await store.delete([record.key])
        assert ended == {record.key}
        assert await batched.swap(Swap(None, record)) == Saved()

    lost, *_ = sorted(set(server_of.values()))
    master = Redis(*lost.split(":"))  # type: ignore[arg-type]
    process: Any = master.info("server")["process_id"]
    master.close()
    os.kill(process, blow)
    try:
        for number in range(3):
            under_way = {record: asyncio.ensure_future(use(record)) for record in records}
            living = [one for record, one in under_way.items() if server_of[record] != lost]
            await asyncio.gather(*living)
            others = {*under_way.values()} - {*living}
            if blow == signal.SIGSTOP and number == 0:  # later on they fail at once
                assert not any(one.done() for one in others), "nobody waits for those"
            answers = await asyncio.gather(*others, return_exceptions=True)
            assert all(isinstance(answer, StoreUnavailable) for answer in answers), answers
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)
    await store.aclose()


async def test_a_new_process_does_not_wait_for_a_node_that_hangs(cluster: str) -> None:
    store = open_store(cluster)
    records = [make_record() for _ in range(60)]
    await save_new(store, *records)
    server_of = {one: str(placement_of(store).server_of(one.key)) for one in records}
    await store.aclose()
    hung, *_ = sorted(set(server_of.values()))
    with Redis(*hung.split(":")) as master:  # type: ignore[arg-type]
        process: Any = master.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        for _ in range(5):  # redis-py asks the nodes in any order
            store = open_store(f"{cluster}?timeout=2")
            for record in records:
                if server_of[record] != hung:
                    assert await store.load([record.key]) == {record.key: record}
            await store.aclose()
    finally:
        os.kill(process, signal.SIGCONT)


async def test_connections_to_a_server_that_is_no_master_any_more_are_closed(
    redis_cluster_url: str,
) -> None:
    store = open_store(redis_cluster_url)
    record = make_record()
    await save_new(store, record)
    masters = cast("RedisStore", store)._masters
    first = masters._connections_to("gone:1", 0)  # as one from before a failover
    assert await first.read(echo, "here") == "here"
    masters._connections_to("gone:2", 0)
    assert {*masters._connections} <= {*masters._names, "gone:2"}
    await asyncio.wait(masters._closing)
    assert first._reader._own is not None
    assert first._reader._own.slot.connection is None
    await store.aclose()


async def echo(_client: object, word: str) -> str:
    return word


async def test_a_part_that_is_refused_leaves_it_open_what_became_of_the_rest(
    redis_cluster_url: str,
) -> None:
    async with SessionManager(redis_cluster_url, log=False) as manager:
        store, by_server = manager.store, dict[object, list[SessionId]]()
        for _ in range(40):
            session = await manager.open(None)
            session["n"] = 0
            action = await manager.commit(session)
            assert isinstance(action, Issue)
            server = placement_of(store).server_of(key_of(action.session_id))
            by_server.setdefault(server, []).append(action.session_id)
        first, *others = max(by_server.values(), key=len)
        opened = [await manager.open(one) for one in (first, *others)]
        masters = cast("RedisStore", store)._masters
        index = masters.indexes[masters.partition_of(key_of(first))]
        with RedisCluster(*address(redis_cluster_url)) as cluster:
            cluster.set(index, "no sorted set")
        for session in opened:
            session.increment("n")
        await asyncio.gather(*map(manager.commit, opened), return_exceptions=True)
        counts = {(await manager.open(one))["n"] for one in others}
        assert counts <= {0, 1}


async def test_ends_are_announced_while_any_master_answers(cluster: str) -> None:
    here = open_store(f"{cluster}?timeout=1")
    assert isinstance(here, Announcing)
    await save_new(here, make_record())
    with RedisCluster(*address(cluster)) as client:
        of_the_first_tag = client.get_node_from_key(cast("RedisStore", here)._masters.indexes[0])
    assert of_the_first_tag is not None
    with Redis(of_the_first_tag.host, of_the_first_tag.port) as master:
        process: Any = master.info("server")["process_id"]
    os.kill(process, signal.SIGKILL)
    for _ in range(3):
        await here.announce(["a" * 20])
    await here.aclose()
