"""The stores that tests run on: one list of their kinds, and a URL of each kind."""

from collections.abc import Callable
from pathlib import Path

import pytest
from administrators import Administrator, Mariadb, Postgresql

from hello_tornado.database import migrate
from hello_tornado.sessions import Store, open_store

SQL = ["sqlite", "postgresql", "mariadb"]
SQL_SERVERS = ["postgresql", "postgresql+asyncpg", "mariadb"]  # by each of their drivers
SHARED = [*SQL, "redis", "redis_cluster"]  # which several processes can use
EVERY = ["memory", *SHARED]

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
def url_of(empty_url_of: UrlOf) -> UrlOf:
    """A function of a kind: the URL of an empty store of the test's own, with its schema."""

    def ready(kind: str) -> str:
        url = empty_url_of(kind)
        if kind in SQL_SERVERS:  # the others make what they need
            migrate.upgrade(url.replace("+asyncpg", ""))
        return url

    return ready


@pytest.fixture(params=SHARED)
def shared_url(request: pytest.FixtureRequest, url_of: UrlOf) -> str:
    """A store of each kind that several processes can use."""
    return url_of(request.param)


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
    return url, Mariadb(plain) if plain.startswith("mariadb") else Postgresql(plain)
