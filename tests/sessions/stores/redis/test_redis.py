"""What Redis adds to the contract: times to live, memory, replicas, servers that come and go."""

import asyncio
import logging
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from redis import Redis, RedisCluster
from services import free_port, redis_node, redis_nodes_of_a_cluster

from hello_tornado.sessions import SessionManager, Store, open_store
from hello_tornado.sessions.errors import (
    ConfigurationError,
    StoreError,
    StoreTimeout,
    StoreUnavailable,
)
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.records.ids import key_of, new_handle
from hello_tornado.sessions.records.record import Saved, Swap
from hello_tornado.sessions.stores.redis.store import RedisStore
from hello_tornado.sessions.testing import HOUR, NOW, make_record, newer, renewed

pytestmark = pytest.mark.gen_test


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A server of the test's own."""
    with redis_node() as port, Redis(port=port) as client:
        yield client


def url_of(client: Redis) -> str:
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}"


async def works(store: Store) -> bool:
    record = make_record()
    saved = await store.save([Swap(None, record)])
    return saved == [Saved()] and record.key in await store.load([record.key])


async def test_every_name_has_a_time_to_live_but_the_index(redis: Redis) -> None:
    store = open_store(url_of(redis))
    record = make_record(user_id="ada", expires_at=NOW + HOUR)
    await store.save([Swap(None, record)])
    lives = {name: redis.pttl(name) for name in redis.scan_iter()}
    index = b"{hello_tornado}:expiries"
    assert lives.pop(index) == -1
    assert len(lives) == 3, "the record, its handle, and the user's set"
    assert all(7_200_000 < life <= 7_260_000 for life in lives.values()), lives

    later = record._replace(accessed_at=NOW + HOUR, expires_at=NOW + 3 * HOUR)
    await store.touch([later])
    lives = {name: redis.pttl(name) for name in redis.scan_iter() if name != index}
    assert all(10_800_000 < life <= 10_860_000 for life in lives.values()), lives
    await store.delete([record.key])
    assert redis.keys() == []
    await store.aclose()


async def test_what_ends_by_its_time_to_live_leaves_the_indexes_without_a_purge(
    redis: Redis,
) -> None:
    store = open_store(url_of(redis))
    dead = [make_record(user_id="ada", expires_at=NOW + n) for n in range(5)]
    await store.save([Swap(None, record) for record in dead])
    for name in redis.scan_iter("*:record:*"):
        redis.delete(name)  # as its time to live would
    alive = make_record(user_id="ada", expires_at=NOW + HOUR)
    await store.save([Swap(None, alive)])
    assert await store.find_by_user("ada") == [alive.facts]
    assert await store.page(None, 2) == [alive.facts], "a page of the dead is not the end"
    for _ in range(3):
        await store.save([Swap(None, make_record(user_id="ada", expires_at=NOW + HOUR))])
    assert redis.zcard("{hello_tornado}:expiries") == 4
    assert redis.zcard('{hello_tornado}:user:"ada"') == 4
    await store.aclose()


async def test_nothing_is_left_of_renewals_and_changes_of_user(redis: Redis) -> None:
    store = open_store(url_of(redis))
    record = make_record()
    await store.save([Swap(None, record)])
    for user in ("ada", "bob", None, "ada"):
        new = renewed(record, user_id=user)
        await store.save([Swap(record, new)])
        record = new
    assert redis.dbsize() == 4
    assert await store.purge(NOW + HOUR, 10) == 1
    assert redis.dbsize() == 0
    await store.aclose()


async def test_an_evicting_redis_is_warned_of_once(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    store = open_store(url_of(redis))
    assert await works(store)
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "allkeys-lru" in warning.message
    assert "set it to noeviction" in warning.message
    await store.aclose()
    caplog.clear()
    redis.config_set("maxmemory-policy", "noeviction")
    store = open_store(url_of(redis))
    assert await works(store)
    assert caplog.records == []
    await store.aclose()


async def test_a_user_may_be_confined_to_the_names_of_the_store(redis: Redis) -> None:
    rights = ["on", ">hush", "~{hello_tornado}:*", "+@all", "-@dangerous", "-@admin"]
    redis.execute_command("ACL", "SETUSER", "app", *rights)
    store = open_store(url_of(redis).replace("://", "://app:hush@"))
    assert await works(store)
    await store.aclose()
    other = open_store(url_of(redis).replace("://", "://app:hush@") + "?prefix=other")
    with pytest.raises(StoreError, match="permissions"):
        await works(other)
    await other.aclose()


async def test_a_full_redis_takes_no_new_session_and_loses_none(redis: Redis) -> None:
    store = open_store(url_of(redis))
    old = make_record()
    await store.save([Swap(None, old)])
    redis.config_set("maxmemory", "1")
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        await store.save([Swap(None, make_record())])
    assert await store.load([old.key]) == {old.key: old}
    assert await store.delete([old.key]) == {old.key}, "a logout needs no memory"
    await store.aclose()


def short_of_replicas(redis: Redis) -> None:
    redis.config_set("min-replicas-to-write", 1)


def a_replica(redis: Redis) -> None:
    redis.replicaof("127.0.0.1", 1)


def unable_to_write_its_snapshot(redis: Redis) -> None:
    directory = Path(redis.config_get("dir")["dir"])
    (directory / "dump.rdb" / "in the way").mkdir(parents=True)
    redis.config_set("save", "3600 1")
    redis.set("a", 1)
    redis.bgsave()
    while redis.info("persistence")["rdb_last_bgsave_status"] == "ok":
        pass


@pytest.mark.parametrize("refuses", [short_of_replicas, a_replica, unable_to_write_its_snapshot])
async def test_a_refusal_that_passes_is_unavailable_and_the_next_call_connects_anew(
    redis: Redis, refuses: Callable[[Redis], None]
) -> None:
    store = open_store(url_of(redis))
    record = make_record()
    await store.save([Swap(None, record)])
    before = {client["id"] for client in redis.client_list()}
    refuses(redis)
    for call in (
        lambda: store.save([Swap(record, newer(record))]),
        lambda: store.delete([record.key]),
    ):
        with pytest.raises(StoreUnavailable):
            await call()
    assert await store.load([record.key]) == {record.key: record}
    after = {client["id"] for client in redis.client_list()}
    assert len(before & after) == 1, "that of this test"
    redis.config_set("min-replicas-to-write", 0)
    redis.replicaof("NO", "ONE")
    redis.config_set("save", "")
    assert await store.delete([record.key]) == {record.key}
    await store.aclose()


async def test_an_answer_that_quotes_what_was_sent_is_not_told(redis: Redis) -> None:
    redis.execute_command("ACL", "SETUSER", "app", "on", ">hush", "~*", "+@all", "-evalsha")
    redis.config_set("maxmemory", 0)
    store = open_store(url_of(redis).replace("://", "://app:hush@"))
    with pytest.raises(StoreError) as caught:
        await store.save([Swap(None, make_record(data=b"a private matter"))])
    text = "".join(traceback.format_exception(caught.value))
    assert "private" not in text.replace('b"a private matter"', "")
    await store.aclose()


async def test_a_server_that_hangs_is_left_behind_and_found_again(redis: Redis) -> None:
    store = open_store(f"{url_of(redis)}?timeout=0.3")
    assert await works(store)
    process: Any = redis.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        calls = [store.load([make_record().key]) for _ in range(9)]
        calls += [store.save([Swap(None, make_record())]), store.delete([make_record().key])]
        answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 1)
        assert {type(answer) for answer in answers} == {StoreTimeout}
        assert {str(answer) for answer in answers} == {
            "the session store failed: it did not answer in time"
        }
    finally:
        os.kill(process, signal.SIGCONT)
    await asyncio.sleep(1)  # when it is asked again
    assert await works(store)
    await store.aclose()


async def test_connections_that_were_cut_are_opened_again(redis: Redis) -> None:
    store = open_store(url_of(redis))
    assert await works(store)
    redis.client_kill_filter(_type="normal", skipme=True)
    assert await store.load([make_record().key]) == {}, "a load is asked again"
    assert await works(store)
    redis.script_flush()
    assert await works(store), "the script is sent again"
    await store.aclose()


async def test_a_caller_that_is_cancelled_harms_nobody(redis: Redis) -> None:
    store = open_store(url_of(redis))
    record = make_record(data=b"mine")
    await store.save([Swap(None, record)])
    for turns in range(8):
        waiting = asyncio.ensure_future(store.load([make_record().key]))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        assert await store.load([record.key]) == {record.key: record}
    await store.aclose()


async def test_a_record_of_another_program_is_named_and_harms_no_neighbour(redis: Redis) -> None:
    store = open_store(url_of(redis))
    record, odd = make_record(), make_record()
    await store.save([Swap(None, record), Swap(None, odd)])
    redis.set(b"{hello_tornado}:record:" + odd.key, b"\x80odd")
    with pytest.raises(StoreError, match="another program"):
        await store.load([odd.key])
    assert await store.load([record.key]) == {record.key: record}
    await store.aclose()


async def test_beside_a_record_of_another_program_every_increment_counts_once(redis: Redis) -> None:
    async with SessionManager(url_of(redis), log=False) as manager:
        ids = []
        for _ in range(3):
            session = await manager.open(None)
            session["n"] = 0
            action = await manager.commit(session)
            assert isinstance(action, Issue)
            ids.append(action.session_id)
        opened = [await manager.open(one) for one in ids]
        redis.set(b"{hello_tornado}:record:" + key_of(ids[1]), b"\x80odd")
        for session in opened:
            session.increment("n")
        answers = await asyncio.gather(*map(manager.commit, opened), return_exceptions=True)
        assert [isinstance(one, StoreError) for one in answers] == [False, True, False]
        assert [(await manager.open(one))["n"] for one in (ids[0], ids[2])] == [1, 1]


async def test_tls_needs_a_certificate_that_is_trusted_and_names_the_host(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    files = {
        "cert.pem": certificate.cert_chain_pems[0].bytes(),
        "key.pem": certificate.private_key_pem.bytes(),
    }
    port = free_port()
    tls = ["--tls-port", str(port), "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"]
    with redis_node(*tls, "--tls-auth-clients", "no", files=files):
        store = open_store(f"rediss://127.0.0.1:{port}?ssl_ca_certs={tmp_path}/ca.pem")
        assert await works(store)
        await store.aclose()
        for url in (
            f"rediss://127.0.0.1:{port}",
            f"rediss://localhost:{port}?ssl_ca_certs={tmp_path}/ca.pem",
        ):
            store = open_store(url)
            with pytest.raises(StoreUnavailable, match="certificate"):
                await store.load([make_record().key])
            await store.aclose()


async def test_a_unix_socket_will_do() -> None:
    with redis_node("--unixsocket", "redis.sock") as port, Redis(port=port, db=3) as client:
        path = f"{client.config_get('dir')['dir']}/redis.sock"
        for url in (f"redis+unix://{path}?db=3", f"unix://{path}?db=3"):
            store = open_store(url)
            assert await works(store)
            await store.aclose()
        assert client.dbsize() == 5


@contextmanager
def replicated() -> Iterator[tuple[Redis, Redis]]:
    with redis_node() as first, Redis(port=first) as master:
        options = ["--replicaof", "127.0.0.1", str(first), "--repl-diskless-sync-delay", "0"]
        with redis_node(*options) as second, Redis(port=second) as replica:
            while replica.info("replication")["master_link_status"] != "up":
                pass
            yield master, replica


@pytest.mark.gen_test(timeout=30)
async def test_a_logout_waits_for_its_replicas_where_that_is_asked_for() -> None:
    with replicated() as (master, replica):
        store = open_store(f"{url_of(master)}?wait_replicas=1")
        one, two = make_record(), make_record()
        await store.save([Swap(None, one), Swap(None, two)])
        assert await store.delete([one.key, make_record().key]) == {one.key}
        assert replica.get(b"{hello_tornado}:record:" + one.key) is None
        process: Any = replica.info("server")["process_id"]
        os.kill(process, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable, match="reached 0 replicas, and not 1"):
                await store.delete([two.key])
        finally:
            os.kill(process, signal.SIGCONT)
        assert await store.delete([two.key]) == set(), "it was gone; now the replica knows"
        assert replica.get(b"{hello_tornado}:record:" + two.key) is None
        await store.aclose()


async def test_a_logout_waits_for_the_replicas_of_a_cluster(redis_cluster_url: str) -> None:
    store = open_store(f"{redis_cluster_url}&wait_replicas=1")
    record = make_record()
    await store.save([Swap(None, record)])
    assert await store.delete([record.key]) == {record.key}
    await store.aclose()
    greedy = open_store(f"{redis_cluster_url}&wait_replicas=2")
    with pytest.raises(StoreUnavailable, match="reached 1 replicas, and not 2"):
        await greedy.delete([record.key])
    await greedy.aclose()


@pytest.mark.gen_test(timeout=40)
async def test_a_cluster_that_loses_a_master_is_found_again_and_logouts_stay_final() -> None:
    with redis_nodes_of_a_cluster() as url:
        store = open_store(f"{url}?wait_replicas=1")
        kept = make_record()
        ended = renewed(kept, handle=new_handle())  # under the same tag, on the same master
        await store.save([Swap(None, kept), Swap(None, ended)])
        await store.delete([ended.key])
        masters = cast("RedisStore", store)._masters
        kill_the_master_of(masters.indexes[masters.partition_of(kept.key)], url)
        outages = 0
        while True:
            try:
                found = await store.load([kept.key, ended.key])
            except StoreUnavailable:
                outages += 1
                await asyncio.sleep(0.1)
            else:
                break
        assert found == {kept.key: kept}, f"after {outages} calls that failed"
        assert await works(store)
        await store.aclose()


def kill_the_master_of(name: str, url: str) -> None:
    host, port = url.removeprefix("redis+cluster://").partition(",")[0].split(":")
    with RedisCluster(host, int(port)) as cluster:
        node = cluster.get_node_from_key(name)
        assert node is not None
        with Redis(node.host, node.port) as master:
            os.kill(master.info("server")["process_id"], signal.SIGKILL)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://localhost/many", "'many' where a number belongs"),
        (
            "redis://localhost?colour=red",
            "no option colour; it has db, prefix, timeout",
        ),
        ("redis://localhost?prefix={a}", "a word without braces"),
        ("redis://localhost?prefix=", "a word without braces"),
        ("redis://localhost:port", "cannot be used: Port"),
        ("redis+cluster://one:1,two:port", "cannot be used: Port"),
        ("redis+guard://localhost", "may have +unix, +cluster or +sentinel, but not +guard"),
        ("redis://localhost?wait_replicas=-1", "'-1' where a number belongs"),
    ],
)
def test_a_url_that_cannot_work_says_why(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert message in str(caught.value)
