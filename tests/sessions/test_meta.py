"""What a session records about itself: messages, its own lifetime, the lifetimes of single keys."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from hello_tornado.sessions import Session, SessionManager
from hello_tornado.sessions.actions import Issue
from hello_tornado.sessions.errors import ReadOnly
from hello_tornado.sessions.ids import SessionId
from hello_tornado.sessions.lifetimes import datetime_of
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.testing import NOW

pytestmark = pytest.mark.gen_test


@pytest.fixture
def manager(clock: Any) -> SessionManager:
    return SessionManager(MemoryStore(), clock=clock)


async def committed(manager: SessionManager, session: Session) -> SessionId:
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    return action.session_id


async def test_a_message_for_this_page_is_never_stored(manager: SessionManager) -> None:
    session = await manager.open(None)
    session.flash_now("Look here")
    assert not session.modified
    assert session.flashes() == [("info", "Look here")]
    assert session.flashes() == []


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


async def test_who_only_reads_cannot_take_messages(manager: SessionManager) -> None:
    session = await manager.open(None)
    session.flash("Saved")
    session = await manager.open(await committed(manager, session))
    session.refusal = ReadOnly("read only")
    with pytest.raises(ReadOnly):
        session.flashes()
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
    session.max_age = end = datetime_of(NOW) + timedelta(hours=2)
    assert session.max_age == end
    session_id = await committed(manager, session)
    clock.advance(minutes=119)
    session = await manager.open(session_id)
    assert (session.expires_at, session.expires_in) == (end, timedelta(minutes=1))
    session.touch()
    await manager.commit(session)
    clock.advance(minutes=1)
    assert (await manager.open(session_id)).is_new, "use does not move it"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (0, "longer than zero"),
        (timedelta(0), "longer than zero"),
        (datetime_of(NOW), "in the future"),
        (datetime(2100, 1, 1), "aware"),  # noqa: DTZ001
        ("forever", '"browser"'),
    ],
)
async def test_a_lifetime_that_is_none_is_refused(
    manager: SessionManager, wrong: Any, why: str
) -> None:
    session = await manager.open(None)
    with pytest.raises(ValueError, match=why):
        session.max_age = wrong


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
