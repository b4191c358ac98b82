"""`update_session()`: a function is applied to the newest copy, until the result is stored."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sites import Jar, site

from hello_tornado.sessions import EndedReason, Session, SessionHandler, Store
from hello_tornado.sessions.errors import NoResponse, ReadOnly, SessionEnded

LEFT = 5


def take_one(session: Session) -> None:
    if session.setdefault("left", LEFT) > 0:
        session.increment("left", -1)
        session["taken"] = session.get("taken", 0) + 1


class Taking(SessionHandler):
    async def post(self, deed: str) -> None:
        await getattr(self, deed)()

    async def once(self) -> None:
        await self.update_session(take_one)
        self.write({"left": self.session["left"]})

    async def twice_beside_a_change(self) -> None:
        self.session["mine"] = "before"
        await asyncio.gather(self.update_session(take_one), self.update_session(take_one))
        self.session["mine"] += " and after"

    async def after_a_flush(self) -> None:
        self.write("first")
        await self.flush()
        await self.update_session(take_one)

    async def with_a_flush_under_way(self) -> None:
        self.session["mine"] = "before"
        self.write("first")
        self.flush()
        await self.update_session(take_one)

    async def failing(self) -> None:
        def fail(session: Session) -> None:
            session["lost"] = True
            raise ZeroDivisionError

        self.session["lost too"] = True
        await self.update_session(fail)

    async def of_an_ended_one(self) -> None:
        await self.session_manager.revoke_user("ada")
        await self.update_session(take_one)
        self.write({"ended": self.session.ended_reason})

    async def logging_out(self) -> None:
        await self.update_session(lambda session: session.destroy())
        self.write({"ended": self.session.ended_reason})

    async def logging_in(self) -> None:
        with pytest.raises(NoResponse):
            await self.update_session(lambda session: session.login("bob"))

    async def asynchronous(self) -> None:
        async def later(session: Session) -> None:
            take_one(session)

        with pytest.raises(TypeError, match="must not be async"):
            await self.update_session(later)

    async def after_a_logout(self) -> None:
        self.session.destroy()
        with pytest.raises(SessionEnded):
            await self.update_session(take_one)


class Meanwhile(SessionHandler):
    """Something else happens while an update waits for its turn, or has just failed."""

    session_touch = False

    async def post(self, deed: str) -> None:
        updating = asyncio.ensure_future(self.update_session(take_one))
        await asyncio.sleep(0)
        getattr(self, deed)()
        await updating
        self.write({"user": self.session.user_id, "ended": self.session.ended})

    def logout(self) -> None:
        self.session.logout()

    def login(self) -> None:
        self.session.login("bob")

    def write_a_key(self) -> None:
        self.session["meanwhile"] = True
        self.session.increment("taken", 10)


@dataclass
class Basket:
    tea: int = 0


class Copies(SessionHandler):
    session_touch = False

    async def post(self, deed: str) -> None:
        await getattr(self, deed)()

    async def typed_before(self) -> None:
        basket = self.session.typed(Basket)
        basket.tea = 1
        await self.update_session(take_one)
        basket.tea = 2

    async def failing(self) -> None:
        def fail(session: Session) -> None:
            session["half"] = 1
            raise ZeroDivisionError

        with suppress(ZeroDivisionError):
            await self.update_session(fail)
        self.session["after"] = 1

    async def logging_in(self) -> None:
        with pytest.raises(NoResponse):
            await self.update_session(lambda session: session.login("eve"))
        self.session["after"] = 1

    async def typed_too(self) -> None:
        self.session.typed(Basket)
        await self.update_session(lambda session: session.increment("tea"))

    async def ending_and_failing(self) -> None:
        def fail(session: Session) -> None:
            session.destroy()
            raise ZeroDivisionError

        with suppress(ZeroDivisionError):
            await self.update_session(fail)
        self.write({"user": self.session.user_id})

    async def nothing(self) -> None:
        await self.update_session(lambda _session: None)

    async def longer(self) -> None:
        def lengthen(session: Session) -> None:
            session.idle_timeout = timedelta(hours=5)

        await self.update_session(lengthen)


class ReadingOnly(SessionHandler):
    session_read_only = True

    async def post(self) -> None:
        with pytest.raises(ReadOnly):
            await self.update_session(take_one)


ROUTES = [
    ("/taking/(.*)", Taking),
    ("/meanwhile/(.*)", Meanwhile),
    ("/copies/(.*)", Copies),
    ("/reading", ReadingOnly),
]


@pytest.mark.gen_test
async def test_parallel_requests_take_what_there_is_and_no_more(any_store: Store) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        answers = await asyncio.gather(*(app.ask(jar, "/taking/once", "POST") for _ in range(12)))
        assert {one.code for one in answers} == {200}
        assert await app.data(jar) == {"left": 0, "taken": LEFT}


@pytest.mark.gen_test
async def test_two_processes_take_what_there_is_and_no_more(
    make_store: Callable[[], Store],
) -> None:
    async with site(make_store(), ROUTES) as here, site(make_store(), ROUTES) as there:
        jar = await here.logged_in()
        asked = [one.ask(jar, "/taking/once", "POST") for one in (here, there) for _ in range(6)]
        assert {one.code for one in await asyncio.gather(*asked)} == {200}
        assert await here.data(jar) == await there.data(jar) == {"left": 0, "taken": LEFT}


@pytest.mark.gen_test
async def test_what_was_changed_before_and_after_is_stored_too(any_store: Store) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        answer = await app.ask(jar, "/taking/twice_beside_a_change", "POST")
        assert answer.code == 200, answer.body
        assert await app.data(jar) == {"left": 3, "taken": 2, "mine": "before and after"}


@pytest.mark.parametrize("deed", ["after_a_flush", "with_a_flush_under_way"])
@pytest.mark.gen_test
async def test_a_response_that_has_begun_is_no_hindrance(any_store: Store, deed: str) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        assert (await app.ask(jar, f"/taking/{deed}", "POST")).body == b"first"
        assert (await app.data(jar))["taken"] == 1


@pytest.mark.gen_test
async def test_a_new_visitor_begins_a_session(any_store: Store) -> None:
    async with site(any_store, ROUTES) as app:
        jar = Jar()
        assert (await app.ask(jar, "/taking/once", "POST")).body == b'{"left": 4}'
        assert await app.data(jar) == {"left": 4, "taken": 1}


@pytest.mark.gen_test
async def test_a_function_that_fails_changes_nothing_and_is_a_500(any_store: Store) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        assert (await app.ask(jar, "/taking/failing", "POST")).code == 500
        assert await app.data(jar) == {"lost too": True}, "what was stored before stays"


@pytest.mark.parametrize(
    ("deed", "reason"),
    [("of_an_ended_one", EndedReason.REVOKED), ("logging_out", EndedReason.LOGGED_OUT)],
)
@pytest.mark.gen_test
async def test_a_session_that_ends_reads_as_ended(
    any_store: Store, deed: str, reason: EndedReason
) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        before = jar.copy()
        answer = await app.ask(jar, f"/taking/{deed}", "POST")
        assert answer.body == b'{"ended": "%s"}' % reason.encode()
        assert await app.user(before) is None
        assert bool(jar) == (reason is EndedReason.REVOKED), "a logout clears the cookie"


@pytest.mark.parametrize("path", ["taking/logging_in", "taking/asynchronous", "reading"])
@pytest.mark.gen_test
async def test_what_cannot_be_done_there_is_refused(any_store: Store, path: str) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        assert (await app.ask(jar, f"/{path}", "POST")).code == 200
        assert await app.show(jar) == {"user": "ada", "data": {}}


@pytest.mark.gen_test
async def test_after_a_logout_it_is_refused(any_store: Store) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        assert (await app.ask(jar, "/taking/after_a_logout", "POST")).code == 200
        assert not jar


@pytest.mark.gen_test
async def test_a_logout_meanwhile_is_final(any_store: Store) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        before = jar.copy()
        answer = await app.ask(jar, "/meanwhile/logout", "POST")
        assert answer.body == b'{"user": null, "ended": true}'
        assert not jar
        assert await app.user(before) is None


@pytest.mark.gen_test
async def test_a_login_meanwhile_stands(any_store: Store) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        await app.ask(jar, "/meanwhile/login", "POST")
        assert await app.user(jar) == "bob"


@pytest.mark.gen_test
async def test_a_write_meanwhile_is_stored_too(any_store: Store) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        await app.ask(jar, "/meanwhile/write_a_key", "POST")
        assert await app.data(jar) == {"left": 4, "taken": 11, "meanwhile": True}


@pytest.mark.gen_test
async def test_an_object_goes_on_after_an_update(any_store: Store) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        await app.ask(jar, "/copies/typed_before", "POST")
        assert await app.data(jar) == {"left": 4, "taken": 1, "tea": 2}


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize(
    ("deed", "data"),
    [("failing", {"after": 1}), ("logging_in", {"after": 1}), ("typed_too", {"tea": 1})],
)
@pytest.mark.gen_test
async def test_the_rules_are_those_of_a_copy_also_for_a_new_visitor(
    any_store: Store, deed: str, data: object, is_new: bool
) -> None:
    async with site(any_store, ROUTES) as app:
        jar = Jar() if is_new else await app.logged_in()
        assert (await app.ask(jar, f"/copies/{deed}", "POST")).code == 200
        assert await app.show(jar) == {"user": None if is_new else "ada", "data": data}


@pytest.mark.gen_test
async def test_who_ends_the_session_and_fails_has_ended_it(any_store: Store) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        answer = await app.ask(jar, "/copies/ending_and_failing", "POST")
        assert answer.body == b'{"user": null}'
        assert not jar


@pytest.mark.gen_test
async def test_a_page_that_polls_keeps_nobody_logged_in(any_store: Store, clock: Any) -> None:
    async with site(any_store, ROUTES, clock=clock) as app:
        jar = await app.logged_in()
        for _ in range(3):
            clock.advance(minutes=25)
            await app.ask(jar, "/copies/nothing", "POST")
        assert await app.user(jar) is None


@pytest.mark.gen_test
async def test_the_browser_is_told_of_another_lifetime(any_store: Store) -> None:
    async with site(any_store, ROUTES) as app:
        jar = await app.logged_in()
        answer = await app.ask(jar, "/copies/longer", "POST")
        assert "Max-Age=21600" in answer.headers["Set-Cookie"]
        assert await app.user(jar) == "ada"
