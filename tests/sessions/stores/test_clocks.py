"""Two processes whose clocks differ."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from hello_tornado.sessions import SessionManager, Store
from hello_tornado.sessions.manager.actions import Clear, Issue
from hello_tornado.sessions.records.lifetimes import MICROSECOND

pytestmark = pytest.mark.gen_test(timeout=60)

AHEAD = timedelta(hours=2) // MICROSECOND


def clock_ahead() -> int:
    return time.time_ns() // 1000 + AHEAD


async def test_a_process_that_is_ahead_ends_no_session_but_those_it_is_told_to(
    make_store: Callable[[], Store],
) -> None:
    here = SessionManager(make_store(), log=False)
    ahead = SessionManager(make_store(), log=False, clock=clock_ahead)
    session = await here.open(None)
    session.login("ada")
    action = await here.commit(session)
    assert isinstance(action, Issue)
    assert await ahead.purge() == 0
    assert (await here.open(action.session_id)).user_id == "ada", "it lives by the store's clock"

    out = await ahead.open(action.session_id)
    assert out.is_new, "by its own clock it is over"
    out.destroy()
    assert isinstance(await ahead.commit(out), Clear)
    assert (await here.open(action.session_id)).user_id is None, "a logout that was answered holds"
    await here.aclose()
    await ahead.aclose()


async def test_what_is_over_by_both_clocks_is_purged(make_store: Callable[[], Store]) -> None:
    past = SessionManager(make_store(), log=False, clock=lambda: clock_ahead() - 10 * AHEAD)
    ahead = SessionManager(make_store(), log=False, clock=clock_ahead)
    session = await past.open(None)
    session["a"] = 1
    await past.commit(session)
    assert await ahead.purge() == 1
    await past.aclose()
    await ahead.aclose()
