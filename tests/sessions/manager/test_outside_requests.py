"""Sessions outside of a request: transactions and updates by handle."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from managing import committed
from sites import site
from tornado.web import RequestHandler

from hello_tornado.sessions import Session, SessionManager, SessionMixin, Store
from hello_tornado.sessions.errors import NoResponse, ResponseStarted, SessionEnded
from hello_tornado.sessions.records.ids import SessionId
from hello_tornado.sessions.stores.memory import MemoryStore

pytestmark = pytest.mark.gen_test

NEEDS_A_COOKIE: list[Callable[[Session], object]] = [
    lambda session: session.login("eve"),
    lambda session: session.login("ada"),
    lambda session: session.renew(),
    lambda session: session.reset(),
]


@pytest.fixture
def manager(any_store: Store, clock: Any) -> SessionManager:
    return SessionManager(any_store, clock=clock, log=False)


async def logged_in(manager: SessionManager, **data: Any) -> tuple[SessionId, str]:
    session = await manager.open(None)
    session.update(data)
    session.login("ada")
    return await committed(manager, session), session.handle or ""


async def renewed(manager: SessionManager, session_id: SessionId, user: str = "") -> SessionId:
    session = await manager.open(session_id)
    if user:
        session.login(user)
    else:
        session.renew()
    return await committed(manager, session)


async def test_both_take_a_handle_and_follow_renewals(manager: SessionManager) -> None:
    session_id, handle = await logged_in(manager, n=1)
    session_id = await renewed(manager, session_id)
    async with manager.transaction(handle) as session:
        session.increment("n")
    session_id = await renewed(manager, session_id)
    updated = await manager.update(handle, lambda session: session.increment("n"))
    assert updated is not None
    assert dict(updated) == dict(await manager.open(session_id)) == {"n": 3}
    await manager.aclose()


async def test_a_renewal_in_the_middle_is_followed(manager: SessionManager) -> None:
    session_id, handle = await logged_in(manager, n=1)
    async with manager.transaction(handle) as session:
        session.increment("n")
        session_id = await renewed(manager, session_id)
    other = SessionManager(manager.store, clock=manager.now, log=False)
    renewals: list[asyncio.Task[SessionId]] = []

    def count(session: Session) -> None:
        if not renewals:
            renewals.append(asyncio.ensure_future(renewed(other, session_id)))
        session["n"] += 1

    await manager.update(handle, count)
    assert dict(await manager.open(await renewals[0])) == {"n": 3}
    await manager.aclose()


@pytest.mark.parametrize("deed", NEEDS_A_COOKIE)
async def test_what_needs_a_cookie_is_refused_and_changes_nothing(
    clock: Any, deed: Callable[[Session], object]
) -> None:
    manager = SessionManager(MemoryStore(), clock=clock, log=False)
    session_id, handle = await logged_in(manager, n=1)
    before = await manager.store.page(None, 10)
    with pytest.raises(NoResponse, match="in a handler"):
        await manager.update(handle, deed)

    async def in_a_transaction() -> None:
        async with manager.transaction(handle) as session:
            session["n"] = 2
            deed(session)

    with pytest.raises(NoResponse, match="in a handler"):
        await in_a_transaction()
    assert await manager.store.page(None, 10) == before
    assert dict(await manager.open(session_id)) == {"n": 1}


async def test_destroy_ends_the_session(manager: SessionManager) -> None:
    for outside in (True, False):
        session_id, handle = await logged_in(manager, n=1)
        session_id = await renewed(manager, session_id)
        if outside:
            async with manager.transaction(handle) as session:
                session["n"] = 2
                session.destroy()
        else:
            await manager.update(handle, lambda session: session.destroy())
        found = await manager.open(session_id)
        assert (found.is_new, found.ended_reason) == (True, "logged_out")
    assert await manager.length() == 0
    await manager.aclose()


async def test_destroy_is_final_also_when_an_exception_follows(manager: SessionManager) -> None:
    def fail(session: Session) -> None:
        session["n"] = 2
        session.destroy()
        raise ZeroDivisionError

    async def fail_in_a_transaction(handle: str) -> None:
        async with manager.transaction(handle) as session:
            fail(session)

    for way in (fail_in_a_transaction, lambda handle: manager.update(handle, fail)):
        session_id, handle = await logged_in(manager, n=1)
        with pytest.raises(ZeroDivisionError):
            await way(handle)
        assert (await manager.open(session_id)).ended_reason == "logged_out"
    await manager.aclose()


async def test_without_a_living_session_nothing_begins(manager: SessionManager) -> None:
    _, handle = await logged_in(manager)
    await manager.revoke(handle)
    for dead in (handle, "unknown", None):
        async with manager.transaction(dead) as session:
            assert session.ended
            with pytest.raises(SessionEnded):
                session["n"] = 1
    assert await manager.update(handle, lambda session: session.increment("n")) is None
    assert await manager.length() == 0
    await manager.aclose()


async def test_a_session_that_ended_is_reloaded_as_ended(manager: SessionManager) -> None:
    session_id, handle = await logged_in(manager, n=1)
    session = await manager.open(session_id)
    await manager.revoke(handle)
    again = await manager.reload(session)
    assert (again.ended, again.ended_reason, dict(again)) == (True, "revoked", {})
    with pytest.raises(SessionEnded):
        again["n"] = 1
    await manager.aclose()


async def test_a_write_after_the_transaction_is_an_error_and_not_lost(clock: Any) -> None:
    manager = SessionManager(MemoryStore(), clock=clock, log=False)
    _, handle = await logged_in(manager)
    async with manager.transaction(handle) as session:
        session["n"] = 1
    updated = await manager.update(handle, lambda session: session.increment("n"))
    assert updated is not None
    for one in (session, updated):
        with pytest.raises(ResponseStarted, match=r"transaction\(handle\)"):
            one["n"] = 3


async def test_the_function_of_an_update_is_not_async(clock: Any) -> None:
    manager = SessionManager(MemoryStore(), clock=clock, log=False)
    session_id, handle = await logged_in(manager)

    async def later(session: Session) -> None:
        session["n"] = 1

    with pytest.raises(TypeError, match="must not be async"):
        await manager.update(handle, later)
    assert dict(await manager.open(session_id)) == {}


class Task(SessionMixin, RequestHandler):
    async def post(self) -> None:
        self.session["n"] = 1
        await self.save_session()
        manager, handle = self.session_manager, self.session.handle or ""
        await asyncio.create_task(self.count(manager, handle))
        await self.reload_session()
        self.write({"n": self.session["n"]})

    async def count(self, manager: SessionManager, handle: str) -> None:
        async with manager.transaction(handle) as session:
            session.increment("n")
        await manager.update(handle, lambda session: session.increment("n"))


async def test_a_handler_gives_its_handle_to_a_task(clock: Any) -> None:
    async with site(MemoryStore(), [("/task", Task)], clock=clock) as app:
        jar = await app.logged_in()
        assert (await app.ask(jar, "/task", "POST")).body == b'{"n": 3}'
        assert await app.data(jar) == {"n": 3}
        clock.now += timedelta(hours=1) // timedelta(microseconds=1)
        assert await app.user(jar) is None


@pytest.mark.parametrize("handle", ["", "\ud800", "a\0b", "😀", 20 * "G", 10**6 * "a"])
async def test_what_cannot_be_a_handle_is_that_of_no_session(any_store: Store, handle: str) -> None:
    manager = SessionManager(any_store, log=False)
    assert await manager.find(handle) is None
    assert await manager.revoke(handle) == 0
    assert await manager.update(handle, lambda session: session.increment("n")) is None
    async with manager.transaction(handle) as session:
        assert session.ended
    await manager.aclose()


@pytest.mark.parametrize("handle", [7, b"abc", object()], ids=["int", "bytes", "object"])
async def test_what_is_not_even_a_str_is_refused(handle: Any) -> None:
    manager = SessionManager("memory://", log=False)
    for call in (manager.find, manager.revoke):
        with pytest.raises(TypeError, match=r"write session\.handle"):
            await call(handle)
