"""The stores that tests run on: one list of their kinds, and a URL of each kind."""

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from administrators import Administrator, Mariadb, Postgresql

from hello_tornado.sessions import Store, open_store

SQL = ["sqlite", "postgresql", "mariadb"]
SQL_SERVERS = ["postgresql", "postgresql+asyncpg", "mariadb"]  # by each of their drivers
SHARED = [*SQL, "redis", "redis_cluster"]  # which several processes can use
EVERY = ["memory", *SHARED]

SERVERS = ["postgresql", "postgresql_18", "mariadb"]

UrlOf = Callable[[str], str]


@pytest.fixture
def empty_url_of(request: pytest.FixtureRequest, tmp_path: Path) -> UrlOf:
    """A function of a kind: the URL of a store of the test's own, without a schema."""

    def url_of(kind: str) -> str:
        if kind == "memory":
            return "memory://"
        if kind == "sqlite":
            return f"sqlite:///{tmp_path}/sessions.db"
        plain = kind.partition("+")[0]
        url: str = request.getfixturevalue(f"{plain}_url")
        return url.replace(plain, kind, 1)

    return url_of


@pytest.fixture
def url_of(request: pytest.FixtureRequest, empty_url_of: UrlOf) -> UrlOf:
    """A function of a kind: the URL of an empty store with its tables.

    On a database server all tests use one database, which is emptied for each of them: to make
    one takes longer than most tests.
    """

    def ready(kind: str) -> str:
        plain = kind.partition("+")[0]
        if plain not in SERVERS:
            return empty_url_of(kind)
        url: str = request.getfixturevalue(f"{plain}_with_tables")
        administrator_of(url).empty()
        return url.replace(plain, kind, 1)

    return ready


def administrator_of(url: str) -> Administrator:
    return Mariadb(url) if url.startswith("mariadb") else Postgresql(url)


@pytest.fixture(params=SHARED)
def shared_url(request: pytest.FixtureRequest, url_of: UrlOf) -> str:
    """A store of each kind that several processes can use."""
    return url_of(request.param)


@pytest.fixture(scope="module", params=SHARED)
def url_of_module(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same for all tests of a file, which do not disturb each other."""
    kind: str = request.param
    if kind == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('store')}/sessions.db"
    if kind in SERVERS:
        url: str = request.getfixturevalue(f"{kind}_with_tables")
        administrator_of(url).empty()
        return url
    servers: str = request.getfixturevalue("redis_server" if kind == "redis" else kind)
    return f"{servers}?prefix=test_{secrets.token_hex(6)}"


@pytest.fixture
def make_store(shared_url: str) -> Callable[[], Store]:
    """Opens the same store again, as another process does."""
    return lambda: open_store(shared_url)


@pytest.fixture(params=EVERY)
def any_store(request: pytest.FixtureRequest, url_of: UrlOf) -> Store:
    """A store of each kind, for one process; the test closes it."""
    return open_store(url_of(request.param))


@pytest.fixture(params=SQL_SERVERS)
def served(request: pytest.FixtureRequest, url_of: UrlOf) -> tuple[str, Administrator]:
    """A database on a server, by each driver, and its administrator."""
    url = url_of(request.param)
    plain = url.replace("+asyncpg", "")
    return url, administrator_of(plain)
