"""/readyz asks the store at most once a second, and gets its answer in time."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from every_store import UrlOf
from running import running_server
from sqlalchemy import make_url

from bench.faults.proxy import Network, Proxy
from hello_tornado.handlers.health import Remembered
from hello_tornado.problem import Problem
from hello_tornado.sessions.errors import StoreTimeout, StoreUnavailable


@pytest.mark.gen_test
async def test_the_outcome_of_a_check_is_remembered_for_a_second() -> None:
    now, outcomes, count = 100.0, [None, StoreUnavailable("down"), None], 0

    async def check() -> None:
        nonlocal count
        count += 1
        await asyncio.sleep(0)
        if (outcome := outcomes[count - 1]) is not None:
            raise outcome

    remembered = Remembered(check, lambda: now)
    await asyncio.gather(*(remembered() for _ in range(10)))
    now += 0.9
    await remembered()
    assert count == 1
    now += 0.1
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await remembered()
    assert count == 2
    now += 1
    await remembered()
    assert count == 3


@pytest.mark.gen_test
async def test_a_client_that_goes_away_ends_no_check_of_others() -> None:
    go_on = asyncio.Event()
    remembered = Remembered(go_on.wait)  # type: ignore[arg-type]
    first, second = asyncio.ensure_future(remembered()), asyncio.ensure_future(remembered())
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()
    await second


@pytest.mark.gen_test
async def test_the_log_is_told_when_the_cause_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "hello_tornado.server")
    now, outcome = 100.0, None

    async def check() -> None:
        if outcome is not None:
            raise outcome

    remembered = Remembered(check, lambda: now)

    async def told(error: Exception | None) -> list[str]:
        nonlocal now, outcome
        now, outcome = now + 1, error
        caplog.clear()
        for _ in range(3):
            await asyncio.gather(remembered(), return_exceptions=True)
        return [record.getMessage().removeprefix("/readyz: ") for record in caplog.records]

    assert await told(None) == []
    (line,) = await told(StoreTimeout("it did not answer in time"))
    assert line.startswith("not ready: it did not answer in time; what to do: check what keeps the")
    assert await told(StoreUnavailable("did not answer in time a moment ago")) == []
    assert await told(Problem("no schema", "run this")) == [
        "not ready: no schema; what to do: run this"
    ]
    assert await told(None) == ["ready again"]
    assert await told(None) == []


@contextmanager
def network_to(port: int) -> Iterator[tuple[Proxy, asyncio.AbstractEventLoop]]:
    """A proxy to a port of this machine, in a thread of its own."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    proxy, is_listening = Proxy(lambda: port), threading.Event()

    async def run() -> None:
        async with proxy.listening():
            is_listening.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    is_listening.wait()
    try:
        yield proxy, loop
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "redis"])
def test_a_network_that_went_silent_in_the_middle_of_a_check_is_not_waited_for(
    url_of: UrlOf, kind: str, tmp_path: Path
) -> None:
    url = make_url(url_of(kind))
    with network_to(url.port or 0) as (proxy, loop):
        led = url.set(port=proxy.port).render_as_string(hide_password=False)
        with running_server(tmp_path, HELLO_TORNADO_STORE__URL=led) as server:
            silent = proxy.being(Network.SWALLOWS)
            asyncio.run_coroutine_threadsafe(silent.__aenter__(), loop).result()
            while server.request("GET", "/readyz")[0] == 200:  # remembered
                pass
            server.wait_for("/readyz: not ready: .*did not answer in time")
            leave = silent.__aexit__(None, None, None)
            asyncio.run_coroutine_threadsafe(leave, loop).result()
            deadline = time.monotonic() + 20
            while server.request("GET", "/readyz")[0] != 200:
                assert time.monotonic() < deadline
            server.wait_for("/readyz: ready again")
