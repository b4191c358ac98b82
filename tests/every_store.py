"""A test with `make_store` runs once for each kind of store that processes can share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hello_tornado.database import migrate
from hello_tornado.sessions import Store, open_store

SHARED = ["sqlite", "postgresql", "mariadb", "redis", "redis_cluster"]


@pytest.fixture(params=SHARED)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    if request.param == "sqlite":
        return lambda: open_store(f"sqlite:///{tmp_path}/sessions.db")
    url: str = request.getfixturevalue(f"{request.param}_url")
    if not request.param.startswith("redis"):
        migrate.upgrade(url)
    return lambda: open_store(url)


@pytest.fixture(params=["memory", *SHARED])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store of each kind, for one process; the test closes it."""
    if request.param == "memory":
        return open_store("memory://")
    if request.param == "sqlite":
        return open_store(f"sqlite:///{tmp_path}/sessions.db")
    url: str = request.getfixturevalue(f"{request.param}_url")
    if not request.param.startswith("redis"):
        migrate.upgrade(url)
    return open_store(url)
