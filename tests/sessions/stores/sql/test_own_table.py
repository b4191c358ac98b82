"""A table with a name and in a schema of one's own, also where an application has others."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import psycopg
import pytest
from databases import as_a_poor_user, mariadb_database, run
from every_store import SQL
from running import run_command
from sqlalchemy import make_url

from hello_tornado.accounts.accounts import Accounts
from hello_tornado.cli.terminal import check_database
from hello_tornado.config.transport_security import travels_unprotected
from hello_tornado.database import migrate
from hello_tornado.problem import Missing, Problem
from hello_tornado.remedies import cure_of
from hello_tornado.sessions import SqlStore, Store, open_store
from hello_tornado.sessions.errors import ConfigurationError, StoreMisconfigured, StoreUnavailable
from hello_tornado.sessions.records.record import Conflict, Saved, Swap
from hello_tornado.sessions.stores import Announcing
from hello_tornado.sessions.stores.sql.names import TableName
from hello_tornado.sessions.testing import NOW, make_record, newer

pytestmark = pytest.mark.gen_test(timeout=60)

NAMES = [
    "order",  # a reserved word
    """It's "quoted" so""",
    "My-app$ sitzungen_für_alle_und_jeden_gasts",  # as long as may be
]


class Place(NamedTuple):
    """An empty database, and a schema of its server where it has such."""

    url: str
    schema: str | None = None

    def with_table(self, table: str) -> str:
        """The URL that names a table in this schema."""
        named = {"table": table} | ({"schema": self.schema} if self.schema else {})
        return f"{self.url}?{urlencode(named)}"


@pytest.fixture(params=SQL)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path}/sessions.db")
    elif request.param == "mariadb":
        url, server = map(request.getfixturevalue, ("mariadb_url", "mariadb_server"))
        with mariadb_database(server) as schema:
            yield Place(url, schema)
    else:
        url = request.getfixturevalue("postgresql_url")
        run(url, """CREATE SCHEMA "My ""app"" it's" """)
        yield Place(url, """My "app" it's""")


async def do_each_verb(store: Store) -> None:
    old, dead = make_record(user_id="ada"), make_record(expires_at=1)
    swaps = [Swap(None, old), Swap(None, dead)]
    assert await store.save(swaps) == [Saved()] * 2
    new, other = newer(old), make_record()
    assert await store.save([Swap(old, new), Swap(None, other)]) == [Saved()] * 2
    late = await store.save([Swap(old, newer(old))])
    assert late == [Conflict(new)]
    touched = new._replace(accessed_at=new.accessed_at + 5, expires_at=new.expires_at + 5)
    await store.touch([touched])
    assert await store.load([old.key]) == {old.key: touched}
    assert await store.find_by_user("ada") == [touched.facts]
    assert await store.find_by_handle([new.handle]) == [touched]
    assert len(await store.page(None, 9)) == 3
    assert await store.purge(NOW, 10) == 1
    assert await store.delete([old.key, dead.key]) == {old.key}
    assert await store.count() == 1


@pytest.mark.parametrize("table", NAMES)
async def test_any_name_will_do(place: Place, table: str) -> None:
    store = open_store(place.url, table=table, schema=place.schema)
    assert isinstance(store, SqlStore)
    await do_each_verb(store)
    assert run(place.url, schema=place.schema) == [table]
    url = place.with_table(table)
    assert migrate.state(url).current is None
    assert migrate.differences(url) == []
    migrate.upgrade(url, accounts=True)
    assert migrate.state(url, accounts=True).is_current
    assert migrate.differences(url, accounts=True) == []
    check_database(url)
    check_database(url, accounts=True)
    with pytest.raises(Missing):
        check_database(place.with_table("another"))
    assert await store.count() == 1
    name = TableName(table, place.schema)
    schema = await store.database.read(migrate.schema_of, name, accounts=True)
    assert schema.is_current, "as the server looks"
    await store.aclose()
    if place.schema:
        assert run(place.url) == [], "nothing is made outside of the schema"
    migrate.downgrade(url, "base")
    assert run(place.url, schema=place.schema) == [f"{table}_alembic_version"]


async def test_stores_side_by_side_know_nothing_of_each_other(place: Place) -> None:
    urls = [place.url, place.with_table("sessions_2"), place.with_table("Sessions_3")]
    for url in urls[:2]:
        migrate.upgrade(url)
    stores = [open_store(url) for url in urls]
    record = make_record(user_id="ada", expires_at=NOW)
    for number, store in enumerate(stores):
        assert await store.save([Swap(None, record)]) == [Saved()]
        assert await store.save([Swap(record, newer(record))]) == [Saved()], number
        await store.save([Swap(None, make_record())])
    assert await stores[0].delete([record.key]) == {record.key}
    assert [await store.count() for store in stores] == [1, 2, 2]
    assert await stores[1].purge(NOW, 10) == 1
    assert [len(await store.find_by_user("ada")) for store in stores] == [0, 0, 1]
    migrate.downgrade(urls[0], "base")
    assert [await store.count() for store in stores[1:]] == [1, 2]
    assert migrate.state(urls[1]).is_current
    for store in stores:
        await store.aclose()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_the_schema_of_the_connection_may_be_named(
    kind: str, request: pytest.FixtureRequest
) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    schema = "public" if kind == "postgresql" else str(make_url(url).database)
    for text in (f"{url}?schema={schema}", url):
        store = open_store(text)
        await store.save([Swap(None, make_record())])
        migrate.upgrade(text, accounts=True)
        assert migrate.state(text, accounts=True).is_current
        assert migrate.differences(text, accounts=True) == []
        await store.aclose()
    assert len(run(url)) == 4


async def test_accounts_stay_as_long_as_a_table_of_sessions_needs_them(place: Place) -> None:
    urls = [place.with_table(table) for table in ("sessions", "Others")]
    for url in urls:
        migrate.upgrade(url, accounts=True)
    migrate.downgrade(urls[0], "base")
    assert migrate.state(urls[1], accounts=True).is_current
    assert migrate.differences(urls[1], accounts=True) == []
    migrate.downgrade(urls[1], "base")
    versions = {"hello_tornado_alembic_version", "Others_alembic_version"}
    assert {*run(place.url, schema=place.schema)} == versions
    accounts = Accounts.from_url(urls[0])
    assert await accounts.all() == [], "which makes their tables"
    await accounts.aclose()
    tables = {"hello_tornado_users", "hello_tornado_guesses"}
    assert {*run(place.url, schema=place.schema)} == versions | tables


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
async def test_announcements_are_of_one_table(postgresql_url: str, driver: str) -> None:
    """The schema is the same one, whether it is named or not."""
    url = postgresql_url.replace("://", f"+{driver}://", 1)
    run(url, "CREATE SCHEMA app")
    heard: dict[str, list[str]] = {}

    async def listen(name: str, store: Store) -> None:
        assert isinstance(store, Announcing)
        try:
            async for handles in store.announcements():
                heard.setdefault(name, []).extend(handles)
                if "end" in handles:
                    return
        except StoreUnavailable:
            pytest.fail("it is lost")

    stores = {
        "plain": open_store(url),
        "public": open_store(url, schema="public"),
        "other": open_store(url, table="others"),
        "app": open_store(url, schema="app"),
    }
    listeners = [asyncio.ensure_future(listen(name, store)) for name, store in stores.items()]
    while len(heard) < 4:
        for name in ("plain", "other", "app"):
            await stores[name].announce([f"for {name}".replace(" ", "_")])  # type: ignore[attr-defined]
        await asyncio.wait(listeners, timeout=0.02)
    for name in ("plain", "other", "app"):
        await stores[name].announce(["end"])  # type: ignore[attr-defined]
    await asyncio.gather(*listeners)
    said = {name: {*handles} - {"end"} for name, handles in heard.items()}
    assert said == {
        "plain": {"for_plain"},
        "public": {"for_plain"},
        "other": {"for_other"},
        "app": {"for_app"},
    }
    for store in stores.values():
        await store.aclose()


async def test_a_purge_of_one_table_keeps_no_other_from_it(postgresql_url: str) -> None:
    stores = [open_store(postgresql_url, table=name) for name in ("sessions", "others")]
    for store in stores:
        await store.save([Swap(None, make_record(expires_at=NOW))])
    with psycopg.connect(postgresql_url) as connection:
        lock = "SELECT pg_advisory_xact_lock(%s, hashtext(md5('public.sessions')))"
        connection.execute(lock, (0x5E551046,))
        assert [await store.purge(NOW, 10) for store in stores] == [0, 1]
    for store in stores:
        await store.aclose()


@pytest.mark.parametrize("place", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("table", ["sessions", 'My "own"'])
async def test_a_user_who_may_not_make_it_is_told_how(place: Place, table: str) -> None:
    schema = "public" if place.url.startswith("postgresql") else None
    store = open_store(as_a_poor_user(place.url), table=table, schema=schema)
    with pytest.raises(StoreMisconfigured) as caught:
        await store.load([make_record().key])
    _, _, ddl = str(caught.value).partition("create=false to the URL and run: ")
    made = [statement for statement in ddl.split(";") if statement]
    run(place.url, *made)
    if schema:
        run(place.url, f'GRANT ALL ON "{table.replace(chr(34), chr(34) * 2)}" TO poor_user')
    await do_each_verb(store)
    await store.aclose()
    url = f"{place.url}?{urlencode({'table': table})}"
    migrate.upgrade(url)
    assert migrate.differences(url) == []


async def test_who_wants_no_table_made_is_told_how(place: Place) -> None:
    run(place.url)  # or SQLite's file would be missing
    store = open_store(f"{place.with_table('My own')}&create=false")
    with pytest.raises(StoreMisconfigured) as caught:
        await store.load([make_record().key])
    _, _, ddl = str(caught.value).partition("create it with: ")
    run(place.url, *filter(None, ddl.split(";")))
    await do_each_verb(store)
    await store.aclose()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
async def test_a_schema_that_is_missing_is_named(kind: str, request: pytest.FixtureRequest) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    store = open_store(url, schema="nowhere")
    with pytest.raises(StoreMisconfigured, match="nowhere") as caught:
        await store.load([make_record().key])
    assert "create the" in cure_of(caught.value)
    with pytest.raises(Problem, match="nowhere") as problem:
        migrate.upgrade(f"{url}?schema=nowhere")
    assert "create the" in problem.value.cure
    await store.aclose()


@pytest.mark.parametrize(
    ("url", "named", "message"),
    [
        ("memory://", {"table": "x"}, "is for SQL databases, and memory:// is not one"),
        ("redis://host", {"schema": "x"}, "redis://host/0?prefix=app"),
        ("files:///var/sessions", {"table": "x", "schema": "y"}, "table=…, schema=…"),
        ("sqlite:///x.db", {"schema": "app"}, "SQLite has no schemas"),
        ("sqlite:///x.db?schema=app", {}, "SQLite has no schemas"),
        ("sqlite:///x.db", {"table": "sqlite_x"}, "reserved"),
        ("postgresql://h/d?table=a", {"table": "a"}, "given twice"),
        ("postgresql://h/d?table=a&table=b", {}, "it is more than one"),
        ("postgresql://h/d", {"table": "app.sessions"}, 'schema="app"'),
        ("postgresql://h/d", {"table": "s" * 44}, "may have at most 43 bytes"),
        ("postgresql://h/d", {"table": "ü" * 22}, "has 44"),
        ("mariadb://h/d", {"schema": "s" * 64}, "may have at most 63 bytes"),
        ("mariadb://h/d", {"table": "a;b"}, "must begin with a letter"),
        ("mariadb://h/d", {"table": "a%sb"}, "must begin with a letter"),
        ("mariadb://h/d", {"table": "a`b"}, "must begin with a letter"),
        ("mariadb://h/d", {"table": "a "}, "must begin with a letter"),
        ("mariadb://h/d", {"table": "1a"}, "must begin with a letter"),
        ("mariadb://h/d", {"table": "a\n"}, "must begin with a letter"),
        ("mariadb://h/d", {"table": "a\U0001f36a"}, "must begin with a letter"),
        ("mariadb://h/d?table=", {}, "is empty"),
        ("mariadb://h/d?schema=&table=x", {}, "is empty"),
        ("mariadb://h/d", {"table": ""}, "must be a name"),
        ("mariadb://h/d", {"table": 7}, "must be a name"),
        ("mariadb://h/d", {"table": "HELLO_tornado_users"}, "reserved"),
        ("mariadb://h/d", {"table": "hello_tornado_alembic_version"}, "reserved"),
    ],
)
async def test_a_name_that_cannot_be_is_refused_at_once(
    url: str, named: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url, **named)
    assert message in str(caught.value)


async def test_a_store_says_which_table_it_is() -> None:
    store = open_store("postgresql://ada:hush@db/app", table="My sessions", schema="a")
    assert str(store) == "postgresql+psycopg://ada:***@db/app?schema=a&table=My+sessions"


async def test_the_names_weaken_nothing() -> None:
    url = "postgresql://ada@db/app?sslmode=verify-full&table=x&schema=y"
    assert not travels_unprotected(url)
    assert not travels_unprotected("mariadb://ada@db/app?ssl=true&table=x&schema=y")


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_the_commands_work_on_it(place: Place, tmp_path: Path) -> None:
    url = place.with_table("My own")
    settings = {"HELLO_TORNADO_STORE__URL": url, "HELLO_TORNADO_LOGIN__MODE": "password"}

    def output(*command: str) -> str:
        done = run_command(tmp_path, *command, **settings)
        assert done.returncode == 0, done.stderr
        return done.stdout

    output("db", "upgrade")
    assert {*run(place.url, schema=place.schema)} == {
        "My own",
        "My own_alembic_version",
        "hello_tornado_guesses",
        "hello_tornado_users",
    }
    assert "current" in output("db", "check")

    async def store_one() -> None:
        store = open_store(url)
        await store.save([Swap(None, make_record(user_id="ada", expires_at=10 * NOW))])
        await store.aclose()

    asyncio.run(store_one())
    assert "ada" in output("sessions", "list")
