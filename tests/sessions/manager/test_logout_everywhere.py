"""Logging out everywhere ends all sessions of a person, on all stores, and nobody else's."""

import asyncio
from collections.abc import Callable

import pytest
from fakes import FakeStore
from managing import stored
from sites import Jar, site

from hello_tornado.sessions import SessionHandler, SessionManager, Store
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.events import Ended, LimitFailed, SessionEvent
from hello_tornado.sessions.manager.actions import Clear, Issue


class Logout(SessionHandler):
    def post(self) -> None:
        if user := self.get_argument("user", None):
            self.session.login(user)
        self.session.logout(everywhere=True)


def test_a_person_is_logged_out_on_all_devices(any_store: Store) -> None:
    async def scenario() -> None:
        async with site(any_store, [("/logout", Logout)]) as here:
            mine = [await here.logged_in() for _ in range(3)]
            bob = await here.logged_in("bob")
            answer = await here.ask(mine[0], "/logout", "POST", take=False)
            assert "Max-Age=0" in answer.headers["Set-Cookie"]
            assert [await here.user(jar) for jar in mine] == [None] * 3
            assert await here.user(bob) == "bob"
            reasons = [event.reason for event in here.events if isinstance(event, Ended)]
            assert reasons == ["revoked", "revoked", "logged_out"]
            assert (await here.ask(Jar(), "/logout", "POST")).code == 200
            assert await here.user(bob) == "bob", "nobody has no other sessions"

    asyncio.run(scenario())


def test_whoever_one_has_logged_in_as_is_logged_out(any_store: Store) -> None:
    async def scenario() -> None:
        async with site(any_store, [("/logout", Logout)]) as here:
            ada, bob, here_now = [await here.logged_in(name) for name in ("ada", "bob", "ada")]
            await here.ask(here_now, "/logout?user=bob", "POST")
            assert [await here.user(jar) for jar in (ada, bob, here_now)] == ["ada", None, None]

    asyncio.run(scenario())


def test_it_reaches_the_sessions_of_other_processes(make_store: Callable[[], Store]) -> None:
    async def scenario() -> None:
        here, there = (SessionManager(make_store(), log=False) for _ in range(2))
        ids = [await stored(manager, "ada") for manager in (here, there, there)]
        session = await here.open(ids[0])
        session.logout(everywhere=True)
        assert isinstance(await here.commit(session), Clear)
        for manager in (here, there):
            assert [(await manager.open(one)).user_id for one in ids] == [None] * 3
        for manager in (here, there):
            await manager.aclose()

    asyncio.run(scenario())


def test_one_that_fails_half_way_can_be_repeated() -> None:
    async def scenario() -> None:
        store = FakeStore()
        manager = SessionManager(store, log=False)
        ids = [await stored(manager, "ada") for _ in range(2)]
        for verb in ("find_by_user", "delete"):
            session = await manager.open(ids[0])
            session.logout(everywhere=True)
            store.failing = {verb}
            with pytest.raises(StoreUnavailable):
                await manager.commit(session)
            store.failing = ()
            assert (await manager.open(ids[0])).user_id == "ada"
        assert isinstance(await manager.commit(session), Clear)
        assert [(await manager.open(one)).user_id for one in ids] == [None] * 2

    asyncio.run(scenario())


def test_a_login_is_answered_when_the_limit_of_sessions_cannot_be_enforced() -> None:
    async def scenario() -> None:
        store, events = FakeStore(), list[SessionEvent]()
        hooks = [events.append]
        manager = SessionManager(store, log=False, max_sessions_per_user=1, hooks=hooks)
        first = await stored(manager, "ada")
        session = await manager.open(None)
        session.login("ada")
        store.failing = {"find_by_user"}
        action = await manager.commit(session)
        assert isinstance(action, Issue)
        assert events[-1] == LimitFailed(str(session.handle), "ada", "the store is down")
        store.failing = ()
        assert (await manager.open(action.session_id)).user_id == "ada"
        third = await stored(manager, "ada")
        living = [(await manager.open(one)).user_id for one in (first, action.session_id, third)]
        assert living == [None, None, "ada"]

    asyncio.run(scenario())
