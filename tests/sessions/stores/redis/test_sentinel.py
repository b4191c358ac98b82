"""Redis whose master is named by sentinels, and another one's after a failover."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from redis import Redis
from services import free_port, redis_node, redis_sentinel

from hello_tornado.sessions import SessionManager, Store, open_store
from hello_tornado.sessions.errors import ConfigurationError, StoreUnavailable
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.testing import StoreContract, make_record

SECRET = "a/b@c:d"


class Watched(NamedTuple):
    """A master, its replica, and the sentinel that watches over both."""

    master: int
    replica: int
    sentinel: int

    @property
    def url(self) -> str:
        """Of two sentinels, the first of which is not there."""
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.sentinel}/sessions/0"


@pytest.fixture
def watched() -> Iterator[Watched]:
    with ExitStack() as stack:
        master = stack.enter_context(redis_node())
        options = ("--replicaof", f"127.0.0.1 {master}", "--repl-diskless-sync-delay", "0")
        replica = stack.enter_context(redis_node(*options))
        sentinel = free_port()
        stack.enter_context(redis_sentinel(master, port=sentinel))
        yield Watched(master, replica, sentinel)


@pytest.fixture(scope="module")
def sentinel_port() -> Iterator[int]:
    with redis_node() as master:
        port = free_port()
        with redis_sentinel(master, port=port):
            yield port


class TestSentinelStore(StoreContract):
    @pytest.fixture(autouse=True)
    def database(self, sentinel_port: int) -> None:
        prefix = f"test_{secrets.token_hex(6)}"
        self.url = f"redis+sentinel://127.0.0.1:{sentinel_port}/sessions?prefix={prefix}"

    def make_store(self) -> Store:
        return open_store(self.url)


async def knows_its_replica(watched: Watched) -> None:
    """Return when the sentinel could make the replica the master."""
    with Redis(port=watched.sentinel) as sentinel:
        while True:
            replicas = sentinel.execute_command("SENTINEL", "REPLICAS", "sessions")
            with Redis(port=watched.replica) as replica:
                is_linked = replica.info("replication")["master_link_status"] == "up"
            if is_linked and len(replicas) == 1:
                return
            await asyncio.sleep(0.05)


@pytest.mark.gen_test(timeout=30)
@pytest.mark.parametrize("kind", ["the master dies", "an administrator asks for it"])
async def test_after_a_failover_the_new_master_is_found_and_nothing_is_lost(
    watched: Watched, kind: str
) -> None:
    manager = SessionManager(watched.url, log=False)
    session = await manager.open(None)
    session["n"] = 0
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    await knows_its_replica(watched)
    with Redis(port=watched.master) as master, Redis(port=watched.sentinel) as sentinel:
        master.wait(1, 5_000)
        if kind == "the master dies":
            master.shutdown(nosave=True)
        else:
            sentinel.execute_command("SENTINEL", "FAILOVER", "sessions")
    count = 0
    while count < 20:
        try:
            session = await manager.open(action.session_id)
            assert not session.is_new
            session.increment("n")
            await manager.commit(session)
            count += 1
        except StoreUnavailable:
            await asyncio.sleep(0.05)
        with Redis(port=watched.replica) as replica:
            if replica.info("replication")["role"] == "slave":
                count = min(count, 1)  # it is the old master that has answered
    with Redis(port=watched.replica) as replica:
        assert replica.info("replication")["role"] == "master"
    assert (await manager.open(action.session_id))["n"] >= 20
    await manager.aclose()


@pytest.mark.gen_test
async def test_no_sentinel_answers(watched: Watched) -> None:
    store = open_store("redis+sentinel://127.0.0.1:1/sessions?timeout=1")
    with pytest.raises(StoreUnavailable):
        await store.load([make_record().key])
    await store.aclose()
    store = open_store(f"redis+sentinel://127.0.0.1:{watched.sentinel}/others?timeout=1")
    with pytest.raises(StoreUnavailable, match="others"):
        await store.load([make_record().key])
    await store.aclose()


@pytest.mark.gen_test
async def test_sentinels_and_the_master_have_passwords_of_their_own() -> None:
    port = free_port()
    with redis_node() as master, redis_sentinel(master, port=port, password=SECRET):
        with Redis(port=master) as administrator:
            administrator.acl_setuser(
                "app",
                enabled=True,
                passwords=[f"+{SECRET}"],
                keys=["*"],
                channels=["*"],
                categories=["+@all"],
            )
        quoted = "a%2Fb%40c%3Ad"
        url = f"redis+sentinel://app:{quoted}@127.0.0.1:{port}/sessions?sentinel_password={quoted}"
        store = open_store(url)
        assert SECRET not in str(store)
        assert quoted not in str(store)
        assert await store.load([make_record().key]) == {}
        await store.aclose()


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, bytes]:
    """The files in a directory: an authority, and the key and the certificate of 127.0.0.1."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    return {file.name: file.read_bytes() for file in tmp_path.iterdir()}


@pytest.mark.gen_test
async def test_with_tls_no_sentinel_is_asked_in_the_clear(
    tmp_path: Path, certificates: dict[str, bytes]
) -> None:
    secure, port = free_port(), free_port()
    tls = ["--tls-port", str(secure), "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"]
    address = f"127.0.0.1:{port}/sessions"
    with (
        redis_node(*tls, "--tls-auth-clients", "no", files=certificates),
        redis_sentinel(secure, port=port, tls=tmp_path),
    ):
        store = open_store(f"rediss+sentinel://{address}?ssl_ca_certs={tmp_path}/ca.pem")
        assert await store.load([make_record().key]) == {}
        await store.aclose()
        for scheme in ("redis+sentinel", "rediss+sentinel"):  # in the clear; with an unknown CA
            store = open_store(f"{scheme}://{address}?timeout=1")
            with pytest.raises(StoreUnavailable):
                await store.load([make_record().key])
            await store.aclose()


@pytest.mark.parametrize(
    "scheme", ["redis", "valkey", "unix", "redis+unix", "redis+cluster", "redis+sentinel"]
)
def test_options_of_tls_need_tls(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match="begins with rediss"):
        open_store(f"{scheme}://127.0.0.1/sessions?ssl_ca_certs=/ca.pem")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis+sentinel://a:1", "names the service"),
        ("redis+sentinel://a:1/service/zero", "'zero' where a number belongs"),
        ("redis+sentinel://a:port/service", "cannot be used"),
        ("redis://a?sentinel_password=b", r"only a Redis URL with \+sentinel"),
        ("redis+guard://a/b", r"\+unix, \+cluster or \+sentinel"),
    ],
)
def test_a_url_that_cannot_work_says_why(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_store(url)
