"""What a store announces: to everybody who listens, and again after the line was cut."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from redis import Redis

from hello_tornado.sessions import open_store
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.stores import Announcing

Cut = Callable[[], object]

ANNOUNCING = [
    "postgresql+psycopg",
    "postgresql+asyncpg",
    "postgresql_18+psycopg",
    "redis",
    "valkey_9",
]


@pytest.fixture(params=ANNOUNCING)
def announcing(request: pytest.FixtureRequest) -> tuple[str, Cut]:
    """A store's URL, and a function that cuts every line on which somebody listens."""
    if request.param in {"redis", "valkey_9"}:
        url: str = request.getfixturevalue(f"{request.param}_url")
        port = urlsplit(url).port or 6379
        return url, lambda: Redis(port=port).client_kill_filter(_type="pubsub")
    server, _, driver = request.param.partition("+")
    url = request.getfixturevalue(f"{server}_url")

    def cut() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )

    return url.replace("postgresql:", f"postgresql+{driver}:"), cut


async def listening(store: Announcing, announcer: Announcing) -> Any:
    """A listener of *store* who has heard a word that was said until somebody listened."""
    listener = store.announcements()
    first = asyncio.ensure_future(anext(listener))
    while not first.done():
        await announcer.announce(["listen"])
        await asyncio.wait({first}, timeout=0.05)
    return listener


async def heard(listener: Any, last: str) -> set[str]:
    """What *listener* hears until *last*."""
    found: set[str] = set()
    while last not in found:
        found |= set(await anext(listener))
    return found - {"listen"}


async def to_its_end(listener: Any) -> None:
    async for _ in listener:
        pass


@pytest.mark.gen_test
async def test_it_is_heard_elsewhere_and_again_after_a_cut(announcing: tuple[str, Cut]) -> None:
    url, cut = announcing
    here, there = open_store(url), open_store(url)
    assert isinstance(here, Announcing)
    assert isinstance(there, Announcing)
    many = [f"handle{number}" for number in range(500)]
    listener = await listening(here, there)
    await there.announce(many)
    assert await heard(listener, many[-1]) == set(many)
    await asyncio.get_running_loop().run_in_executor(None, cut)
    with pytest.raises(StoreUnavailable):
        await to_its_end(listener)
    listener = await listening(here, there)
    await there.announce(["a", "b"])
    assert await heard(listener, "b") == {"a", "b"}
    await listener.aclose()
    for store in (here, there):
        await store.aclose()


def test_the_others_do_not() -> None:
    for url in ("memory://", "sqlite:///var/never-made.db", "mariadb://u:p@localhost/d"):
        assert not isinstance(open_store(url), Announcing)
