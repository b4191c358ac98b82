"""/readyz asks the store at most once a second."""

import asyncio

import pytest

from hello_tornado.handlers.health import Remembered
from hello_tornado.sessions.errors import StoreUnavailable


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
