"""Logging out everywhere ends all sessions of a person, on all stores, and nobody else's."""

import asyncio
from collections.abc import Callable

from managing import stored
from sites import Jar, site

from hello_tornado.sessions import SessionHandler, SessionManager, Store
from hello_tornado.sessions.events import Ended
from hello_tornado.sessions.manager.actions import Clear


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
            assert reasons == ["logged_out", "revoked", "revoked"]
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
