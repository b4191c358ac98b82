"""What a person reads whose store.url leads nowhere: a line of cause, a line of cure."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from redis import Redis
from services import redis_node
from sqlalchemy import URL, make_url

from hello_tornado.database import migrate
from hello_tornado.problem import Problem
from hello_tornado.remedies import cure_of
from hello_tornado.sessions import open_store
from hello_tornado.sessions.errors import ConfigurationError, StoreError, StoreMisconfigured
from hello_tornado.sessions.testing import make_record

PASSWORD = "set the user and the password"
ADDRESS = "start the store, or set its host and port"
DATABASE = "create the database"
TLS = "enable TLS on the store"
UPGRADE = "db upgrade"

Change = Callable[[URL], URL]
CHANGES: dict[str, tuple[Change, str]] = {
    "another password": (lambda url: url.set(password="hush"), PASSWORD),
    "another port": (lambda url: url.set(port=1), ADDRESS),
    "no such host": (lambda url: url.set(host="nowhere.invalid"), ADDRESS),
    "no such database": (lambda url: url.set(database="nowhere"), DATABASE),
    "no schema": (lambda url: url.update_query_dict({"create": "false"}), UPGRADE),
}
WITH_TLS = {
    "postgresql": "sslmode=require",
    "postgresql+asyncpg": "ssl=require",
    "mariadb": "ssl=true",
    "mysql": "ssl=true",
}


async def failure(url: str) -> str:
    store = open_store(url)
    try:
        with pytest.raises(StoreError) as caught:
            await store.load([make_record().key])
    finally:
        await store.aclose()
    text = str(caught.value)
    assert "\n" not in text
    assert (urlsplit(url).password or "hush") not in f"{text} {store}"
    return text


@pytest.fixture(params=list(WITH_TLS))
def sql_url(request: pytest.FixtureRequest) -> URL:
    name = request.param.partition("+")[0].replace("mysql", "mariadb")
    url: str = request.getfixturevalue(f"{name}_url")
    return make_url(url).set(drivername=request.param)


@pytest.mark.parametrize("change", CHANGES)
def test_a_database_that_cannot_be_used_is_named_with_its_cure(sql_url: URL, change: str) -> None:
    changed, cure = CHANGES[change]
    text = changed(sql_url).render_as_string(hide_password=False)
    assert cure in cure_of(asyncio.run(failure(text)))
    if change != "no schema":
        with pytest.raises(Problem) as caught:
            migrate.state(text)
        assert cure in caught.value.cure
        assert "\n" not in str(caught.value)


def test_tls_that_is_demanded_and_not_there_is_named_with_its_cure(sql_url: URL) -> None:
    text = sql_url.render_as_string(hide_password=False) + f"?{WITH_TLS[sql_url.drivername]}"
    assert TLS in cure_of(asyncio.run(failure(text)))
    with pytest.raises(Problem) as caught:
        migrate.state(text)
    assert TLS in caught.value.cure


def test_an_option_that_the_driver_does_not_know_is_named(mariadb_url: str) -> None:
    async def load() -> None:
        store = open_store(f"{mariadb_url}?colour=red")
        with pytest.raises(StoreMisconfigured, match="colour"):
            await store.load([make_record().key])
        await store.aclose()

    asyncio.run(load())


@pytest.fixture(scope="module")
def guarded_redis() -> Iterator[int]:
    with redis_node() as port, Redis(port=port) as client:
        client.config_set("requirepass", "open sesame")
        yield port


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("redis://127.0.0.1:{port}", PASSWORD),
        ("redis://:hush@127.0.0.1:{port}", PASSWORD),
        ("redis://ada:hush@127.0.0.1:{port}", PASSWORD),
        ("redis://127.0.0.1:1", ADDRESS),
        ("redis://nowhere.invalid", ADDRESS),
        ("redis+unix:///nowhere.sock", ADDRESS),
        ("redis+cluster://127.0.0.1:1,127.0.0.1:2", ADDRESS),
        ("redis+cluster://:open%20sesame@127.0.0.1:{port}", "redis://"),
        ("rediss://:open%20sesame@127.0.0.1:{port}", "TLS"),
    ],
)
def test_a_redis_that_cannot_be_used_is_named_with_its_cure(
    guarded_redis: int, url: str, cure: str
) -> None:
    text = url.format(port=guarded_redis)
    assert cure in cure_of(asyncio.run(failure(text)))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory://", "memory://"),
        ("sqlite:///var/s.db", "sqlite:///var/s.db"),
        ("postgres://ada:hush@db/app", "postgresql+psycopg://ada:***@db/app"),
        ("postgresql://ada:hush@db/app", "postgresql+psycopg://ada:***@db/app"),
        ("postgresql+asyncpg://ada:hush@db/app", "postgresql+asyncpg://ada:***@db/app"),
        ("mysql://ada:hu%40sh@db/app", "mysql+asyncmy://ada:***@db/app"),
        ("mariadb://ada:hush@db/app", "mariadb+asyncmy://ada:***@db/app"),
        ("redis://:hush@db:1/2?prefix=a", "redis://:***@db:1/2?prefix=a"),
        ("valkey://db", "valkey://db"),
        ("redis+cluster://ada:hush@a:1,b:2", "redis+cluster://ada:***@a:1,b:2"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
        ("sqlite:///var/a@b.db?timeout=2", "sqlite:///var/a%40b.db"),
    ],
)
def test_a_store_says_where_it_leads_without_the_password(url: str, shown: str) -> None:
    assert str(open_store(url)) == shown


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "a URL without a scheme; a store URL begins with one of: mariadb://"),
        ("mongodb://db", "there is no store for mongodb; a store URL begins with one of"),
        ("postgresql://ada:hush@db:port/app", "the store's URL is invalid"),
        ("postgresql+nothing://db/app", "cannot be used: Can't load plugin"),
        ("sqlite://", "sqlite:// needs a file"),
        ("sqlite://var/x.db", "sqlite:///var/x.db"),
        ("postgresql://ada:hu@sh@db/app", "Percent-encode the password"),
        ("mariadb://ada:hu@sh@db/app", "Percent-encode the password"),
        ("redis://:p/hush@db/0", "Percent-encode the password"),
        ("redis://:p?hush@db/0", "Percent-encode the password"),
        ("redis://:p#hush@db/0", "Percent-encode the password"),
        ("redis+cluster://ada:hu@sh@a:1,b:2", "Percent-encode the password"),
        ("postgresql://ada:p/hush@db/app", "Percent-encode the password"),
        ("redis://db?timeout=soon", "timeout=3"),
        ("sqlite:///x.db?timeout=0", "timeout=3"),
        ("mariadb://db/app?timeout=-1", "timeout=3"),
        ("memory://x", "takes no path"),
    ],
)
def test_a_url_that_no_store_can_have_says_so(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "missing", "cure"),
    [
        ("sqlite:///s.db", "sqlalchemy", "pip install 'hello-tornado[sql]'"),
        ("postgres://db", "psycopg", "pip install 'hello-tornado[postgresql]'"),
        ("postgresql+asyncpg://db", "asyncpg", "pip install asyncpg"),
        ("mysql://db/app", "asyncmy", "pip install 'hello-tornado[mariadb]'"),
        ("rediss://db", "redis", "pip install 'hello-tornado[redis]'"),
    ],
)
def test_a_missing_driver_is_named_with_what_to_install(
    url: str, missing: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*sys.modules]:
        ours = name.startswith("hello_tornado.sessions.stores.")
        if ours or name == missing or name.startswith(f"{missing}."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert str(caught.value).endswith(cure)


@pytest.mark.parametrize(
    ("cause", "cure"),
    [
        ("cannot execute UPDATE in a read-only transaction", "accepts writes"),
        ("READONLY You can't write against a read only replica.", "accepts writes"),
        ("FATAL: sorry, too many clients already", "fewer processes"),
        ('column "handle" of relation "sessions" does not exist', "another program"),
        ("the server's binlog_format is STATEMENT", "ROW or MIXED"),
        ('invalid connection option "colour"', "out of store.url"),
        ("database disk image is malformed", "restore a backup"),
    ],
)
def test_each_refusal_has_its_cure(cause: str, cure: str) -> None:
    assert cure in cure_of(cause)
