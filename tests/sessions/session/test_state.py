"""What a session records about itself: messages, its own lifetime, the lifetimes of single keys."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from managing import committed

from hello_tornado.sessions import Lifetimes, SessionManager
from hello_tornado.sessions.errors import ReadOnly
from hello_tornado.sessions.records.lifetimes import datetime_of
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.testing import NOW

pytestmark = pytest.mark.gen_test


@pytest.fixture
def manager(clock: Any) -> SessionManager:
    return SessionManager(MemoryStore(), clock=clock)


async def test_a_message_for_this_page_is_never_stored(manager: SessionManager) -> None:
    session = await manager.open(None)
    session.flash_now("Look here")
    assert not session.modified
    assert session.flashes() == session.flashes() == [("info", "Look here")]
    session["keep"] = "something"
    session_id = await committed(manager, session)
    assert (await manager.open(session_id)).flashes() == []


async def test_messages_for_now_come_after_those_that_waited(manager: SessionManager) -> None:
    session = await manager.open(None)
    session.flash("Saved", "success")
    session_id = await committed(manager, session)
    session = await manager.open(session_id)
    session.flash_now("Look here")
    assert session.flashes() == [("success", "Saved"), ("info", "Look here")]
    await manager.commit(session)
    assert (await manager.open(session_id)).flashes() == []


async def test_messages_that_were_shown_can_be_kept_for_once_more(manager: SessionManager) -> None:
    session = await manager.open(None)
    session.flash("Saved", "success")
    session_id = await committed(manager, session)
    for _ in range(2):
        session = await manager.open(session_id)
        assert session.flashes() == [("success", "Saved")]
        session.keep_flashes()
        await manager.commit(session)
    session = await manager.open(session_id)
    assert session.flashes() == [("success", "Saved")]
    await manager.commit(session)
    assert (await manager.open(session_id)).flashes() == []


async def test_a_request_that_asks_again_sees_the_same_messages(manager: SessionManager) -> None:
    session = await manager.open(None)
    session.flash("Saved")
    session_id = await committed(manager, session)
    session = await manager.open(session_id)
    assert session.flashes() == [("info", "Saved")]
    await manager.commit(session)
    session.flash("Saved again")
    assert [one.message for one in session.flashes()] == ["Saved", "Saved again"]
    assert session.flashes()[0].category == "info"
    await manager.commit(session)
    assert (await manager.open(session_id)).flashes() == []


async def test_what_is_kept_stays_kept_when_the_page_asks_again(manager: SessionManager) -> None:
    session = await manager.open(None)
    session.flash("Saved")
    session = await manager.open(session_id := await committed(manager, session))
    shown = session.flashes()
    session.keep_flashes()
    assert session.flashes() == shown == [("info", "Saved")]
    await manager.commit(session)
    assert (await manager.open(session_id)).flashes() == shown


async def test_a_message_of_one_session_is_not_kept_in_another(manager: SessionManager) -> None:
    session = await manager.open(None)
    session.flash("For Ada's eyes")
    session = await manager.open(await committed(manager, session))
    assert session.flashes()
    session.reset()
    session.keep_flashes()
    assert (await manager.open(await committed(manager, session))).flashes() == []


async def test_a_page_that_only_reads_leaves_the_messages(manager: SessionManager) -> None:
    session = await manager.open(None)
    session.flash("Saved")
    session_id = await committed(manager, session)
    session = await manager.open(session_id)
    session.refusal = ReadOnly("read only")
    session.flash_now("Look here")
    assert session.flashes() == [("info", "Look here")]
    await manager.commit(session)
    assert (await manager.open(session_id)).flashes() == [("info", "Saved")]
    with pytest.raises(ReadOnly):
        session.expire("a", 1)


async def test_a_key_may_have_a_time_of_its_own(manager: SessionManager, clock: Any) -> None:
    session = await manager.open(None)
    session.update(code=123456, name="Ada")
    session.expire("code", timedelta(minutes=5))
    session_id = await committed(manager, session)
    clock.advance(minutes=4, seconds=59)
    assert dict(await manager.open(session_id)) == {"code": 123456, "name": "Ada"}
    clock.advance(seconds=1)
    session = await manager.open(session_id)
    assert dict(session) == {"name": "Ada"}
    assert not session.modified


async def test_a_slow_request_does_not_bring_an_expired_key_back(
    manager: SessionManager, clock: Any
) -> None:
    session = await manager.open(None)
    session.update(code=1, n=1)
    session.expire("code", 60)
    session_id = await committed(manager, session)
    slow = await manager.open(session_id)
    assert slow["code"] == 1
    clock.advance(minutes=2)
    slow.increment("n")
    await manager.commit(slow)
    assert dict(await manager.open(session_id)) == {"n": 2}
    record = slow.record
    assert record is not None
    assert b"code" not in record.data


async def test_a_key_that_is_set_again_stays(manager: SessionManager, clock: Any) -> None:
    session = await manager.open(None)
    session.update(code=1, tries=0)
    session.expire("code", 60)
    session.expire("tries", 60)
    session_id = await committed(manager, session)
    session = await manager.open(session_id)
    session["code"] = 2
    session.increment("tries")
    await manager.commit(session)
    clock.advance(minutes=2)
    assert dict(await manager.open(session_id)) == {"code": 2}


async def test_only_what_is_there_can_expire(manager: SessionManager) -> None:
    session = await manager.open(None)
    with pytest.raises(KeyError):
        session.expire("nothing", 60)
    session["a"] = 1
    with pytest.raises(ValueError, match="longer than zero"):
        session.expire("a", 0)


async def test_a_session_may_end_at_a_moment(manager: SessionManager, clock: Any) -> None:
    session = await manager.open(None)
    session["a"] = 1
    end = datetime_of(NOW) + timedelta(hours=2)
    session.expires_at = end
    assert session.expires_at == end
    session_id = await committed(manager, session)
    clock.advance(minutes=119)
    session = await manager.open(session_id)
    assert (session.expires_at, session.expires_in) == (end, timedelta(minutes=1))
    session.touch()
    await manager.commit(session)
    clock.advance(minutes=1)
    assert (await manager.open(session_id)).is_new, "use does not move it"


async def test_the_absolute_timeout_bounds_the_moment(manager: SessionManager) -> None:
    session = await manager.open(None)
    session.expires_at = datetime_of(NOW) + timedelta(days=9)
    assert session.expires_in == timedelta(hours=24)
    session.expires_at = None
    assert session.expires_in == timedelta(hours=1)


WRONG_MOMENTS = [
    datetime_of(NOW),
    datetime_of(NOW - 1),
    datetime(2100, 1, 1),  # noqa: DTZ001 - naive on purpose
    60,
    "browser",
]


@pytest.mark.parametrize("wrong", WRONG_MOMENTS)
async def test_a_moment_at_which_no_session_can_end_is_refused(
    manager: SessionManager, wrong: Any
) -> None:
    session = await manager.open(None)
    with pytest.raises(ValueError, match=r"expires_at (is|must)"):
        session.expires_at = wrong


@pytest.mark.parametrize(
    "wrong", [0, -1, timedelta(0), timedelta.max, 10**12, float("nan"), float("inf"), True, "60"]
)
async def test_a_duration_that_can_be_none_is_refused(manager: SessionManager, wrong: Any) -> None:
    session = await manager.open(None)
    session["a"] = 1
    with pytest.raises(ValueError, match="longer than zero and at most 36500 days"):
        session.idle_timeout = wrong
    with pytest.raises(ValueError, match="longer than zero and at most 36500 days"):
        session.expire("a", wrong)
    assert session.expires_in == timedelta(hours=1)


async def test_the_longest_lifetimes_end_at_a_date(clock: Any) -> None:
    longest = timedelta(days=36500)
    lifetimes = Lifetimes(idle=longest, absolute=None, remembered=longest)
    manager = SessionManager(MemoryStore(), clock=clock, lifetimes=lifetimes)
    session = await manager.open(None)
    session.login("ada", remember=True)
    session = await manager.open(await committed(manager, session))
    assert session.expires_at == datetime_of(NOW) + longest


async def test_what_was_gathered_elsewhere_can_be_merged_in(manager: SessionManager) -> None:
    laptop = await manager.open(None)
    laptop.update(cart={"tea": 1}, theme="dark", visits=2)
    laptop.login("ada")
    await manager.commit(laptop)

    phone = await manager.open(None)
    phone.update(cart={"milk": 1}, visits=3)
    phone_id = await committed(manager, phone)

    phone = await manager.open(phone_id)
    (earlier,) = await manager.sessions_of("ada")
    phone.login("ada")
    phone.merge(earlier, lambda key, mine, theirs: mine + theirs if key == "visits" else mine)
    phone_id = await committed(manager, phone)
    merged = await manager.open(phone_id)
    assert dict(merged) == {"cart": {"milk": 1}, "visits": 5, "theme": "dark"}
    assert dict(await manager.open(None)) == {}
    carts = [session["cart"] for session in await manager.sessions_of("ada")]
    assert {"tea": 1} in carts, "the other one is as it was"
