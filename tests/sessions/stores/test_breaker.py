"""When a store that did not answer is used again: on each kind, with its own driver."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from every_store import SQL_SERVERS, UrlOf

from hello_tornado.sessions import Store, open_store
from hello_tornado.sessions.errors import StoreTimeout, StoreUnavailable
from hello_tornado.sessions.records.record import Saved, Swap
from hello_tornado.sessions.testing import make_record

pytestmark = pytest.mark.gen_test(timeout=60)

LIMIT = 1.0


@pytest.fixture(params=["sqlite", *SQL_SERVERS, "redis"])
def store(request: pytest.FixtureRequest, url_of: UrlOf) -> Store:
    url = url_of(request.param)
    separator = "&" if "?" in url else "?"
    return open_store(f"{url}{separator}timeout={LIMIT}")


def needing(store: Any) -> Callable[[float], Any]:
    """A function of seconds: a write that takes the store so long."""
    if not hasattr(store, "database"):

        async def on_redis(client: Any, _index: str, seconds: float) -> None:
            await client.ping()
            await asyncio.sleep(seconds)

        return lambda seconds: store._masters.write_to_one(on_redis, seconds)

    def on_sql(connection: Any, seconds: float) -> None:
        match connection.dialect.name:
            case "sqlite":
                time.sleep(seconds)
            case "postgresql":
                connection.exec_driver_sql(f"SELECT pg_sleep({seconds})")
            case _:
                connection.exec_driver_sql(f"SELECT SLEEP({seconds})")

    return lambda seconds: store.database.write(on_sql, seconds)


@pytest.mark.slow
async def test_a_store_that_is_slow_but_within_the_limit_is_used_again(store: Store) -> None:
    writing = needing(store)
    await writing(0)
    with pytest.raises(StoreTimeout):
        await writing(1.5 * LIMIT)
    tries = 0
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreUnavailable):
                tries += 1
                await writing(0.7 * LIMIT)
                break
            await asyncio.sleep(0.05)
    for _ in range(3):
        await writing(0.7 * LIMIT)
    await store.aclose()


def stand_still(seconds: float) -> None:
    """Nothing of this event loop runs, as under SIGSTOP."""
    time.sleep(seconds)


async def test_a_process_that_stood_still_does_not_take_the_store_for_dead(store: Store) -> None:
    assert await store.save([Swap(None, make_record())]) == [Saved()]
    record = make_record()
    waiting = asyncio.ensure_future(store.load([record.key]))
    saving = asyncio.ensure_future(store.save([Swap(None, record)]))
    for _ in range(4):  # until the calls are under way
        await asyncio.sleep(0)
    stand_still(2 * LIMIT)
    await asyncio.gather(waiting, saving, return_exceptions=True)
    other = make_record()
    assert await store.save([Swap(None, other)]) == [Saved()], "and not refused for a second"
    assert await store.load([other.key]) == {other.key: other}
    await store.aclose()
