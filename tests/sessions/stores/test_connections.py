"""A database server that hangs, drops its connections or is not there, and comes back."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from administrators import Administrator
from sqlalchemy import make_url

from hello_tornado.sessions import Store, open_store
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.records.record import Saved, Swap
from hello_tornado.sessions.stores import connections
from hello_tornado.sessions.testing import make_record

pytestmark = pytest.mark.gen_test(timeout=60)


async def works(store: Store) -> bool:
    record = make_record()
    saved = await store.save([Swap(None, record)])
    return saved == [Saved()] and record.key in await store.load([record.key])


async def until_it_works(store: Store) -> None:
    """Within two seconds; asked more often than that, it says at once that it is not yet."""
    async with asyncio.timeout(2):
        while True:
            with suppress(StoreUnavailable):
                assert await works(store)
                return
            await asyncio.sleep(0.05)


async def test_a_server_that_hangs_is_left_behind_and_found_again(
    served: tuple[str, Administrator],
) -> None:
    url, administrator = served
    store = open_store(f"{url}?timeout=0.3")
    assert await works(store)
    with administrator.locked():
        for call in (
            lambda: store.load([make_record().key]),
            lambda: store.save([Swap(None, make_record())]),
            lambda: store.delete([make_record().key]),
        ):
            with pytest.raises(StoreUnavailable, match="did not answer in time"):
                await asyncio.wait_for(call(), 1)
    await until_it_works(store)
    await store.aclose()


async def test_connections_that_were_cut_are_opened_again(
    served: tuple[str, Administrator],
) -> None:
    url, administrator = served
    store = open_store(url)
    record = make_record()
    await store.save([Swap(None, record)])
    assert await store.load([record.key]) == {record.key: record}
    administrator.kill_connections()
    with pytest.raises(StoreUnavailable):  # whether a save was done, nobody knows
        await store.save([Swap(None, make_record())])
    assert await works(store)
    administrator.kill_connections()
    assert await store.load([record.key]) == {record.key: record}, "a load is asked again"
    assert await store.save([Swap(None, make_record())]) == [Saved()], "by a new connection"
    await store.aclose()


async def test_a_write_after_a_long_silence_meets_a_living_connection(
    served: tuple[str, Administrator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TRUSTED_SECONDS", 0)
    url, administrator = served
    store = open_store(url)
    assert await works(store)
    administrator.kill_connections()
    assert await store.save([Swap(None, make_record())]) == [Saved()]
    assert await works(store)
    await store.aclose()


async def test_a_caller_that_is_cancelled_harms_nobody(
    served: tuple[str, Administrator],
) -> None:
    url, administrator = served
    store = open_store(url)
    assert await works(store)
    with administrator.locked():
        waiting = asyncio.ensure_future(store.load([make_record().key]))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await works(store)
    await store.aclose()


def without_server(url: str) -> str:
    return make_url(url).set(port=1).render_as_string(hide_password=False)


def with_another_password(url: str) -> str:
    return make_url(url).set(password="hush").render_as_string(hide_password=False)


@pytest.mark.parametrize("change", [without_server, with_another_password])
async def test_a_server_that_cannot_be_reached_is_named_without_the_password(
    served: tuple[str, Administrator], change: Callable[[str], str]
) -> None:
    store = open_store(change(served[0]))
    with pytest.raises(StoreUnavailable) as caught:
        await store.load([make_record().key])
    assert str(caught.value).startswith("the session store failed: ")
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)
    await store.aclose()
