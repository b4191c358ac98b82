"""Why there is no session any more: told for an hour, to whoever still has the cookie."""

from datetime import timedelta
from typing import Any

import pytest

from hello_tornado.sessions import Session, SessionManager
from hello_tornado.sessions.actions import Issue
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.events import Ended, SessionEvent, TombstoneFailed
from hello_tornado.sessions.ids import SessionId, key_of, new_session_id
from hello_tornado.sessions.stores.memory import MemoryStore

pytestmark = pytest.mark.gen_test


@pytest.fixture
def events() -> list[SessionEvent]:
    return []


@pytest.fixture
def manager(clock: Any, events: list[SessionEvent]) -> SessionManager:
    return SessionManager(MemoryStore(), clock=clock, hooks=[events.append])


async def logged_in(manager: SessionManager) -> tuple[SessionId, Session]:
    session = await manager.open(None)
    session.login("ada")
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    return action.session_id, session


async def end(manager: SessionManager, session: Session, reason: str, clock: Any) -> None:
    match reason:
        case "logged out":
            session.destroy()
            await manager.commit(session)
        case "revoked":
            await manager.revoke(session.handle or "")
        case "expired":
            clock.advance(hours=1)


@pytest.mark.parametrize("reason", ["logged out", "revoked", "expired"])
async def test_the_reason_is_told_for_an_hour(
    manager: SessionManager, clock: Any, reason: str
) -> None:
    session_id, session = await logged_in(manager)
    await end(manager, session, reason, clock)
    clock.advance(minutes=59, seconds=59)
    found = await manager.open(session_id)
    assert (found.is_new, found.ended_reason) == (True, reason)
    clock.advance(seconds=1)
    assert (await manager.open(session_id)).ended_reason is None


async def test_who_never_had_a_session_is_told_no_reason(manager: SessionManager) -> None:
    assert (await manager.open(None)).ended_reason is None
    assert (await manager.open(new_session_id())).ended_reason is None
    session_id, session = await logged_in(manager)
    assert (await manager.open(session_id)).ended_reason is None
    session.renew()
    await manager.commit(session)
    assert (await manager.open(session_id)).ended_reason is None, "it has not ended"


async def test_signed_out_everywhere_says_so_on_each_device(manager: SessionManager) -> None:
    ids = [(await logged_in(manager))[0] for _ in range(3)]
    kept = (await manager.open(ids[0])).handle or ""
    assert await manager.revoke_user("ada", keep=[kept]) == 2
    reasons = [(await manager.open(session_id)).ended_reason for session_id in ids]
    assert reasons == [None, "revoked", "revoked"]


async def test_the_request_that_ends_it_knows(manager: SessionManager) -> None:
    _, session = await logged_in(manager)
    session.destroy()
    assert session.ended_reason == "logged out"


async def test_what_is_told_of_it_is_no_session(manager: SessionManager, clock: Any) -> None:
    session_id, session = await logged_in(manager)
    session.destroy()
    await manager.commit(session)
    assert await manager.length() == 0
    assert [one async for one in manager.all()] == []
    assert await manager.sessions_of("ada") == []
    assert await manager.find(session.handle or "") is None
    clock.advance(minutes=1)
    again = await manager.open(session_id)
    again["a"] = 1
    action = await manager.commit(again)
    assert isinstance(action, Issue)
    assert action.session_id != session_id


async def test_a_regular_purge_leaves_what_is_still_told(
    manager: SessionManager, clock: Any
) -> None:
    session_id, session = await logged_in(manager)
    await end(manager, session, "logged out", clock)
    purger = manager.purge_every(timedelta(hours=24))
    await purger.run()
    assert (await manager.open(session_id)).ended_reason == "logged out"
    clock.advance(hours=1)
    await purger.run()
    assert await manager.store.count() == 0
    await manager.aclose()


async def test_a_purge_by_hand_forgets_at_once(manager: SessionManager, clock: Any) -> None:
    session_id, session = await logged_in(manager)
    await end(manager, session, "revoked", clock)
    assert await manager.purge() == 1
    assert (await manager.open(session_id)).ended_reason is None


async def test_a_manager_may_remember_nothing(clock: Any) -> None:
    manager = SessionManager(MemoryStore(), clock=clock, remember_ended=timedelta(0))
    session_id, session = await logged_in(manager)
    await end(manager, session, "revoked", clock)
    assert await manager.store.count() == 0
    assert (await manager.open(session_id)).ended_reason is None


async def test_a_reason_that_is_not_stored_does_not_undo_the_logout(
    manager: SessionManager, events: list[SessionEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id, session = await logged_in(manager)

    async def save(_swaps: object) -> None:
        raise StoreUnavailable("away")

    session.destroy()
    monkeypatch.setattr(manager.store, "save", save)
    await manager.commit(session)
    assert events[-2:] == [
        TombstoneFailed("away"),
        Ended(session.handle or "", "ada", "logged out"),
    ]
    assert dict(await manager.store.load([key_of(session_id)])) == {}
