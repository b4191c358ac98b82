"""Why there is no session any more, and how long what says so is kept."""

from datetime import timedelta
from typing import Any

import pytest
from managing import committed

from hello_tornado.sessions import Session, SessionManager, Store
from hello_tornado.sessions.encryption import AesGcm, new_encryption_key
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.events import Ended, SessionEvent, TombstoneFailed
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.records.ids import SessionId, key_of, new_session_id
from hello_tornado.sessions.records.record import Swap
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
    return await committed(manager, session), session


async def end(manager: SessionManager, session: Session, reason: str, clock: Any) -> None:
    match reason:
        case "logged_out":
            session.destroy()
            await manager.commit(session)
        case "revoked":
            await manager.revoke(session.handle or "")
        case "expired":
            clock.advance(hours=1)


@pytest.mark.parametrize("reason", ["logged_out", "revoked"])
async def test_the_reason_is_told_for_an_hour(
    manager: SessionManager, clock: Any, reason: str
) -> None:
    session_id, session = await logged_in(manager)
    await end(manager, session, reason, clock)
    clock.advance(minutes=59, seconds=59)
    await manager.purge()
    found = await manager.open(session_id)
    assert (found.is_new, found.ended_reason) == (True, reason)
    clock.advance(seconds=1)
    assert (await manager.open(session_id)).ended_reason == "expired"
    await manager.purge()
    assert list(await manager.store.page(None, 10)) == []


async def test_an_id_with_nothing_in_the_store_has_expired(
    manager: SessionManager, clock: Any
) -> None:
    session_id, session = await logged_in(manager)
    await end(manager, session, "expired", clock)
    assert (await manager.open(session_id)).ended_reason == "expired"
    assert await manager.purge() == 1
    assert (await manager.open(session_id)).ended_reason == "expired"
    assert (await manager.open(new_session_id())).ended_reason == "expired"


async def test_a_session_that_goes_on_has_no_reason(manager: SessionManager) -> None:
    assert (await manager.open(None)).ended_reason is None
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
    assert session.ended_reason == "logged_out"


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


async def rows(store: Store) -> int:
    return len(await store.page(None, 1000))


async def test_what_was_idle_for_an_hour_is_gone_after_the_next_purge(
    any_store: Store, clock: Any
) -> None:
    manager = SessionManager(any_store, clock=clock, log=False)
    ids = []
    for _ in range(3):
        session = await manager.open(None)
        session["diary"] = "secret"
        action = await manager.commit(session)
        assert isinstance(action, Issue)
        ids.append(action.session_id)
    clock.advance(minutes=59, seconds=59)
    await manager.purge()
    assert await rows(any_store) == 3
    clock.advance(minutes=1)
    await manager.purge()
    assert await rows(any_store) == 0
    assert (await manager.open(ids[0])).ended_reason == "expired"
    await manager.aclose()


async def test_a_purge_leaves_tombstones_while_they_count(any_store: Store, clock: Any) -> None:
    manager = SessionManager(any_store, clock=clock, log=False, remember_ended=600)
    ended = [await logged_in(manager) for _ in range(7)]
    for _, session in ended[:3]:
        session.destroy()
        await manager.commit(session)
    clock.advance(minutes=5)
    for _, session in ended[3:]:
        await manager.revoke(session.handle or "")
    assert await manager.purge(batch=2) == 0
    assert await manager.length() == await any_store.count() == 0
    assert [one async for one in manager.all()] == []
    assert await rows(any_store) == 7
    clock.advance(minutes=5)
    assert await manager.purge(batch=2) == 0
    assert await rows(any_store) == 4
    reasons = [(await manager.open(session_id)).ended_reason for session_id, _ in ended]
    assert reasons == ["expired"] * 3 + ["revoked"] * 4
    clock.advance(minutes=5)
    await manager.purge(batch=2)
    assert await rows(any_store) == 0
    await manager.aclose()


async def test_a_tombstone_is_sealed(clock: Any) -> None:
    cipher = AesGcm([new_encryption_key()])
    manager = SessionManager(MemoryStore(), clock=clock, log=False, cipher=cipher)
    session_id, session = await logged_in(manager)
    await end(manager, session, "revoked", clock)
    (listed,) = await manager.store.page(None, 10)
    record = (await manager.store.load([listed.key]))[listed.key]
    assert b"revoked" not in record.data
    assert (await manager.open(session_id)).ended_reason == "revoked"
    moved = record._replace(created_at=record.created_at + 1)
    await manager.store.save([Swap(record, moved._replace(version=2))])
    assert (await manager.open(session_id)).ended_reason == "expired"


async def test_a_manager_may_remember_nothing(clock: Any) -> None:
    manager = SessionManager(MemoryStore(), clock=clock, remember_ended=timedelta(0))
    session_id, session = await logged_in(manager)
    await end(manager, session, "revoked", clock)
    assert list(await manager.store.page(None, 10)) == []
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
        Ended(session.handle or "", "ada", "logged_out"),
    ]
    assert dict(await manager.store.load([key_of(session_id)])) == {}
