"""How long callers wait for a store, and when one that did not answer is asked again."""

import asyncio
from dataclasses import dataclass

import pytest
from fakes import FakeStore

from hello_tornado.sessions import SessionManager
from hello_tornado.sessions.errors import ConfigurationError, StoreTimeout, StoreUnavailable
from hello_tornado.sessions.stores.deadlines import (
    Breaker,
    Closed,
    Open,
    Wait,
    deadline_of_call,
    limit_of,
)


@dataclass
class Seconds:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


def refuses(breaker: Breaker) -> bool:
    try:
        breaker.admit()
    except StoreUnavailable:
        return True
    return False


def test_a_closed_breaker_lets_every_call_through() -> None:
    breaker = Breaker(3, Seconds())
    assert [breaker.admit() for _ in range(3)] == [3, 3, 3]
    breaker.timed_out(1)
    assert breaker.phase == Closed(), "a wait that was short says little"
    breaker.timed_out(8, late=5)
    assert breaker.phase == Closed(), "nor does one in which this process stood still"
    breaker.timed_out(3.1, late=0.1)
    assert refuses(breaker)


def test_an_open_breaker_lets_one_probe_a_second_through_with_half_the_limit() -> None:
    clock = Seconds()
    breaker = Breaker(3, clock)
    breaker.timed_out(3)
    assert breaker.phase == Open(101)
    assert refuses(breaker)
    clock.now = 101.0
    assert breaker.admit() == 1.5
    assert refuses(breaker)
    breaker.timed_out(1.5)
    clock.now = 102.0
    assert breaker.admit() == 1.5, "a second after the last probe began"
    breaker.answered()
    assert breaker.phase == Closed()
    assert breaker.admit() == 3


@pytest.mark.gen_test
async def test_the_calls_of_one_wait_share_one_limit() -> None:
    now = asyncio.get_running_loop().time
    assert deadline_of_call(3) == pytest.approx(now() + 3, abs=0.1)
    wait = Wait(2)
    with wait:
        assert deadline_of_call(3) == pytest.approx(now() + 1, abs=0.1)
        with Wait():
            assert deadline_of_call(3) == pytest.approx(now() + 1, abs=0.1), "the outer one counts"
    assert wait.waited == pytest.approx(2, abs=0.1)
    assert deadline_of_call(3) == pytest.approx(now() + 3, abs=0.1)


@pytest.mark.gen_test
async def test_what_a_wait_has_begun_has_its_own_limit_when_the_wait_is_over() -> None:
    """Such as the purges, when a request is the first to use a manager, and what hooks begin."""
    is_over = asyncio.Event()

    async def goes_on() -> float:
        within = deadline_of_call(3)
        await is_over.wait()
        return deadline_of_call(3) - within

    with Wait(2):
        task = asyncio.ensure_future(goes_on())
        await asyncio.sleep(0)
    is_over.set()
    assert await task == pytest.approx(2, abs=0.1)


@pytest.mark.gen_test
async def test_a_commit_has_what_the_request_has_left() -> None:
    """Though the store itself has forgotten its limit."""
    store = FakeStore()
    store.limit_seconds = 5.0  # type: ignore[attr-defined]
    manager = SessionManager(store, log=False)
    session = await manager.open(None)
    session["a"] = 1
    await manager.commit(session)
    store.may_save.clear()
    session["a"] = 2
    started = asyncio.get_running_loop().time()
    with Wait(4.8), pytest.raises(StoreTimeout):
        await manager.commit(session)
    assert asyncio.get_running_loop().time() - started < 1


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", ""])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="timeout=3"):
        limit_of(text)
