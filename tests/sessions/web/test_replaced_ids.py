"""An id that was renewed or ended a moment ago: nothing that comes with it begins a session."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from fakes import FakeStore
from sites import Jar, Site, site
from tornado.web import RequestHandler

from hello_tornado.sessions import SessionManager, SessionMixin, Store
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.events import CommitDropped
from hello_tornado.sessions.manager.actions import Issue, Keep
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.web.account.handlers import account_routes


class Count(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.session.increment("n")


class Renew(SessionMixin, RequestHandler):
    def post(self) -> None:
        self.session.renew()


class Logout(SessionMixin, RequestHandler):
    def post(self) -> None:
        self.session.destroy()


ROUTES: list[Any] = [("/count", Count), ("/renew", Renew), ("/logout", Logout)]


async def login(here: Site, jar: Jar) -> None:
    await here.ask(jar, "/login", "POST")


async def renew(here: Site, jar: Jar) -> None:
    await here.ask(jar, "/renew", "POST")


async def logout(here: Site, jar: Jar) -> None:
    await here.ask(jar, "/logout", "POST")


async def revoke(here: Site, _jar: Jar) -> None:
    sessions = [session async for session in here.manager.all()]
    assert await here.manager.revoke(*[one.handle or "" for one in sessions]) == 1


REPLACEMENTS: list[Callable[[Site, Jar], Awaitable[None]]] = [login, renew, logout, revoke]


def test_a_late_request_begins_no_session_and_sends_no_cookie(any_store: Store, clock: Any) -> None:
    async def scenario(here: Site, replace: Callable[[Site, Jar], Awaitable[None]]) -> None:
        await here.manager.clear()
        here.events.clear()
        jar = Jar()
        await here.ask(jar, "/count")
        old = jar.copy()
        (handle,) = [session.handle or "" async for session in here.manager.all()]
        await replace(here, jar)
        living = await here.manager.length()
        for _ in range(2):
            late = await here.ask(old, "/count", take=False)
            assert (late.code, "Set-Cookie" in late.headers) == (200, False)
        assert await here.manager.length() == living
        assert here.events.count(CommitDropped(handle)) == 2
        assert await here.data(jar) == ({"n": 1} if living else {})
        clock.advance(minutes=1)
        assert "Set-Cookie" in (await here.ask(old, "/count")).headers
        assert await here.data(old) == {"n": 1}, "a minute later the id is any unknown one"

    async def scenarios() -> None:
        async with site(any_store, ROUTES, clock=clock) as here:
            for replace in REPLACEMENTS:
                await scenario(here, replace)

    asyncio.run(scenarios())


def test_somebody_can_log_in_again_with_the_cookie_of_an_ended_session(any_store: Store) -> None:
    async def scenario() -> None:
        async with site(any_store, ROUTES) as here:
            jar = await here.logged_in()
            await revoke(here, jar)
            await login(here, jar)
            assert await here.user(jar) == "ada"
            assert await here.manager.length() == 1

    asyncio.run(scenario())


def test_a_login_that_is_sent_twice_logs_in_and_keeps_what_was_gathered(any_store: Store) -> None:
    async def scenario() -> None:
        async with site(any_store, ROUTES) as here:
            jar = Jar()
            await here.ask(jar, "/count")
            first, second, other = jar.copy(), jar.copy(), jar.copy()
            await login(here, first)
            await login(here, second)
            await here.ask(other, "/login?user=bob", "POST")
            assert await here.show(first) == await here.show(second)
            assert await here.show(second) == {"user": "ada", "data": {"n": 1}}
            assert await here.show(other) == {"user": "bob", "data": {}}, "nobody else's data"

    asyncio.run(scenario())


def test_a_logout_ends_every_session_that_it_presents(any_store: Store) -> None:
    async def scenario(here: Site, junk: int) -> None:
        jars = [await here.logged_in(user) for user in ("ada", "bob", "eve")]
        kept = await here.logged_in("zoe")
        pairs = ["session=junk"] * junk + [str(jar) for jar in jars]
        headers = {"Cookie": "; ".join(pairs)}
        response = await here.ask(Jar(), "/logout", "POST", headers=headers)
        assert response.headers["Set-Cookie"].startswith("session=; Max-Age=0")
        assert [await here.user(jar) for jar in jars] == [None] * 3
        assert await here.user(kept) == "zoe"

    async def scenarios() -> None:
        async with site(any_store, ROUTES) as here:
            for junk in (0, 4, 12):
                await scenario(here, junk)

    asyncio.run(scenarios())


def test_a_logout_follows_a_session_that_was_renewed_a_moment_ago(any_store: Store) -> None:
    async def scenario() -> None:
        async with site(any_store, ROUTES) as here:
            jar = await here.logged_in()
            old = jar.copy()
            await renew(here, jar)
            assert await here.user(jar) == "ada"
            response = await here.ask(old, "/logout", "POST")
            assert "Max-Age=0" in response.headers["Set-Cookie"]
            assert await here.user(jar) is None

    asyncio.run(scenario())


def test_a_logout_from_before_a_login_ends_nothing_of_it(any_store: Store) -> None:
    async def scenario() -> None:
        async with site(any_store, ROUTES) as here:
            jar = Jar()
            await here.ask(jar, "/count")
            old = jar.copy()
            await login(here, jar)
            assert "Set-Cookie" not in (await here.ask(old, "/logout", "POST")).headers
            assert await here.user(jar) == "ada"

    asyncio.run(scenario())


def test_a_logout_of_nobody_clears_no_cookie() -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), ROUTES, save_uninitialized=True) as here:
            assert "Set-Cookie" not in (await here.ask(Jar(), "/logout", "POST")).headers
            assert await here.manager.length() == 0
            junk = Jar(session="junk")
            assert "Set-Cookie" not in (await here.ask(junk, "/logout", "POST")).headers

    asyncio.run(scenario())


# XSRF tokens


class First(SessionMixin, RequestHandler):
    """Begins a session, on a page with a form: before or after the form was made."""

    def get(self, order: str) -> None:
        if order == "write":
            self.session.increment("n")
        form = self.xsrf_form_html()
        self.session.increment("n")
        self.write(form)

    async def post(self, deed: str) -> None:
        match deed:
            case "login" | "login-and-save":
                self.session.login("ada")
                if deed == "login-and-save":
                    await self.save_session()
            case "renew":
                self.session.renew()
            case "logout":
                self.session.destroy()
        self.write(self.xsrf_form_html())


class Silent(SessionMixin, RequestHandler):
    """Answers scripts: no form, no token in the page."""

    def post(self, deed: str) -> None:
        match deed:
            case "login":
                self.session.login("ada")
            case "renew":
                self.session.renew()
            case "logout":
                self.session.destroy()
            case "count":
                self.session.increment("n")


XSRF: dict[str, Any] = {"xsrf_cookies": True}
FORMS: list[Any] = [("/form/(.*)", First), ("/script/(.*)", Silent)]


def token_in(response: Any) -> str:
    found = re.search(r'value="([^"]+)"', response.body.decode())
    assert found is not None
    return found[1]


@pytest.mark.parametrize("order", ["write", "read"])
def test_the_form_on_the_page_that_begins_a_session_can_be_sent(order: str) -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), FORMS, settings=XSRF) as here:
            jar = Jar()
            token = token_in(await here.ask(jar, f"/form/{order}"))
            assert set(jar) == {"session", "_xsrf"}
            for _ in range(2):
                answer = await here.ask(jar, "/form/count", "POST", f"_xsrf={token}")
                assert answer.code == 200

    asyncio.run(scenario())


class Later(SessionMixin, RequestHandler):
    """Shows its form first, and begins its session afterwards, on another page than the first."""

    def get(self) -> None:
        form = self.xsrf_form_html()
        if self.get_argument("begins", ""):
            self.session.increment("n")
        self.write(form)

    def post(self) -> None:
        if self.get_argument("login", ""):
            self.session.login("ada")
        self.write(self.xsrf_form_html())


def test_a_form_that_is_older_than_the_session_of_its_page_can_be_sent(any_store: Store) -> None:
    async def scenario() -> None:
        async with site(any_store, [*FORMS, ("/later", Later)], settings=XSRF) as here:
            jar = Jar()
            await here.ask(jar, "/later")
            assert set(jar) == {"_xsrf"}
            token = token_in(await here.ask(jar, "/later?begins=1"))
            assert set(jar) == {"_xsrf", "session"}
            for _ in range(2):
                assert (await here.ask(jar, "/later", "POST", f"_xsrf={token}")).code == 200
            script = {"X-XSRFToken": jar["_xsrf"]}
            assert (await here.ask(jar, "/later", "POST", headers=script)).code == 200
            other = token_in(await here.ask(jar, "/later"))
            assert (await here.ask(jar, "/later", "POST", f"_xsrf={other}")).code == 200
            evil = {"Cookie": f"session={jar['session']}; _xsrf={'00' * 16}"}
            answer = await here.ask(Jar(), "/later", "POST", f"_xsrf={'00' * 16}", headers=evil)
            assert answer.code == 403, "a cookie that somebody else has set"
            answer = await here.ask(jar, "/later?login=1", "POST", f"_xsrf={token}")
            assert answer.code == 200
            assert (await here.ask(jar, "/later", "POST", f"_xsrf={token}")).code == 403
            new = token_in(answer)
            assert (await here.ask(jar, "/later", "POST", f"_xsrf={new}")).code == 200

    asyncio.run(scenario())


@pytest.mark.parametrize("deed", ["login", "login-and-save", "renew", "logout"])
def test_the_form_on_the_page_that_answers_can_be_sent(deed: str) -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), FORMS, settings=XSRF) as here:
            jar = Jar()
            token = token_in(await here.ask(jar, "/form/write"))
            answer = await here.ask(jar, f"/form/{deed}", "POST", f"_xsrf={token}")
            token = token_in(answer)
            assert (await here.ask(jar, "/form/count", "POST", f"_xsrf={token}")).code == 200

    asyncio.run(scenario())


def test_scripts_that_read_the_token_in_its_cookie_work_through_login_and_logout() -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), FORMS, settings=XSRF) as here:
            jar = Jar()
            await here.ask(jar, "/form/read")
            for deed in ("count", "login", "count", "renew", "count", "logout", "count", "count"):
                headers = {"X-XSRFToken": jar["_xsrf"]}
                answer = await here.ask(jar, f"/script/{deed}", "POST", headers=headers)
                assert answer.code == 200, deed
            assert (await here.ask(jar, "/script/count", "POST")).code == 403

    asyncio.run(scenario())


def test_a_form_can_be_sent_with_the_cookie_of_a_session_that_has_ended() -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), FORMS, settings=XSRF) as here:
            jar = Jar()
            token = token_in(await here.ask(jar, "/form/write"))
            await here.ask(jar, "/form/login", "POST", f"_xsrf={token}")
            await here.manager.revoke_user("ada")
            token = token_in(await here.ask(jar, "/form/read"))
            answer = await here.ask(jar, "/form/login", "POST", f"_xsrf={token}")
            assert answer.code == 200
            assert await here.user(jar) == "ada"

    asyncio.run(scenario())


class Refused(First):
    """Shows its form on the page of an error, too."""

    def write_error(self, _status: int, **_kwargs: Any) -> None:
        self.finish(self.xsrf_form_html())


def test_the_form_on_the_page_of_a_refusal_can_be_sent() -> None:
    async def scenario() -> None:
        routes = [*FORMS, ("/refused/(.*)", Refused)]
        async with site(MemoryStore(), routes, settings=XSRF) as here:
            jar = Jar()
            token = token_in(await here.ask(jar, "/form/write"))
            await here.ask(jar, "/form/login", "POST", f"_xsrf={token}")
            del jar["_xsrf"]
            refused = await here.ask(jar, "/refused/count", "POST")
            assert refused.code == 403
            answer = await here.ask(jar, "/form/count", "POST", f"_xsrf={token_in(refused)}")
            assert answer.code == 200

    asyncio.run(scenario())


def test_a_late_request_does_not_replace_the_token_of_a_login() -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), [*FORMS, *ROUTES], settings=XSRF) as here:
            jar = Jar()
            await here.ask(jar, "/count")
            old = jar.copy()
            token = token_in(await here.ask(jar, "/form/write"))
            await here.ask(jar, "/form/login", "POST", f"_xsrf={token}")
            late = await here.ask(old, "/form/write", take=False)
            assert "Set-Cookie" not in late.headers
            again = await here.ask(old, "/form/login", "POST", f"_xsrf={token_in(late)}")
            assert again.code == 200

    asyncio.run(scenario())


class Persistent(SessionMixin, RequestHandler):
    async def get(self) -> None:
        self.session["n"] = 1
        form = self.xsrf_form_html()
        with suppress(StoreUnavailable):
            await self.save_session()
        self.write(form)

    def post(self) -> None:
        self.write("fine")


def test_a_form_works_though_the_first_save_has_failed() -> None:
    async def scenario() -> None:
        store = FakeStore()
        async with site(store, [("/", Persistent)], settings=XSRF) as here:
            jar = Jar()
            store.saves_to_fail = 1
            token = token_in(await here.ask(jar, "/"))
            assert (await here.ask(jar, "/", "POST", f"_xsrf={token}")).body == b"fine"

    asyncio.run(scenario())


@pytest.mark.parametrize("deed", ["login", "logout"])
def test_a_double_click_shows_no_error(deed: str) -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), FORMS, settings=XSRF) as here:
            jar = Jar()
            token = token_in(await here.ask(jar, "/form/write"))
            clicks = [
                await here.ask(jar.copy(), f"/form/{deed}", "POST", f"_xsrf={token}")
                for _ in range(2)
            ]
            assert [click.code for click in clicks] == [200, 200]

    asyncio.run(scenario())


def test_the_account_pages_refuse_other_sites_without_any_setting() -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), account_routes("/account")) as here:
            jar, other = await here.logged_in(), await here.logged_in()
            handle = [one.handle for one in await here.manager.sessions_of("ada")]
            paths = ["revoke-others", *(f"{one}/revoke" for one in handle)]
            evil = {"Origin": "https://evil.example"}
            for headers in (evil, evil | {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}):
                for path in paths:
                    answer = await here.ask(
                        jar, f"/account/sessions/{path}", "POST", headers=headers
                    )
                    assert answer.code == 403
            assert await here.user(other) == "ada"
            own = {"Origin": f"http://127.0.0.1:{here.port}", "Sec-Fetch-Site": "same-origin"}
            answer = await here.ask(jar, "/account/sessions/revoke-others", "POST", headers=own)
            assert answer.code == 303
            assert await here.user(other) is None

    asyncio.run(scenario())


@pytest.mark.gen_test
async def test_a_session_that_another_process_clears_is_announced() -> None:
    announced: list[str] = []

    class Announcing(MemoryStore):
        async def announce(self, handles: Any, /) -> None:
            announced.extend(handles)

        async def announcements(self) -> Any:
            yield ()

    manager = SessionManager(Announcing(), log=False)
    session = await manager.open(None)
    session["a"] = 1
    await manager.commit(session)
    assert await manager.clear() == 1
    assert announced == [session.handle]
    assert await manager.store.count() == 0


@pytest.mark.gen_test
async def test_a_login_behind_a_conflict_leaves_a_tombstone() -> None:
    store = MemoryStore()
    here, elsewhere = (SessionManager(store, log=False) for _ in range(2))
    session = await here.open(None)
    session["n"] = 0
    begun = await here.commit(session)
    assert isinstance(begun, Issue)
    for _ in range(3):
        counting, login, other = [
            await manager.open(begun.session_id) for manager in (here, here, elsewhere)
        ]
        counting.increment("n")
        login.increment("n")
        login.renew()
        other.increment("n")
        await elsewhere.commit(other)
        _, renewed = await asyncio.gather(here.commit(counting), here.commit(login))
        assert isinstance(renewed, Issue)
        late = await here.open(begun.session_id)
        late["late"] = 1
        assert await here.commit(late) == Keep(), "it begins no session"
        begun = renewed
    assert (await here.open(begun.session_id))["n"] == 9
