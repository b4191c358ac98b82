"""The kit for tests of applications: a visitor who is logged in at once and keeps cookies."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError
from tornado.testing import AsyncHTTPSTestCase, AsyncHTTPTestCase, gen_test
from tornado.web import Application, RequestHandler, authenticated

from hello_tornado.sessions import CookiePolicy, SessionHandler, SessionManager, TokenPolicy
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.testing import (
    Clock,
    FaultyStore,
    SessionTestCase,
    StoreContract,
    session_headers,
    visiting,
)

pytestmark = pytest.mark.gen_test

SECRET = "of the tests, and of no one else"


class Home(SessionHandler):
    @authenticated
    def get(self) -> None:
        self.write(f"Hello {self.current_user}, {self.session.get('n')}")


class Anybody(SessionHandler):
    def get(self) -> None:
        self.write({"user": self.session.user_id, **self.session})


class Login(SessionHandler):
    def get(self) -> None:
        self.write("who?")

    def post(self) -> None:
        self.session.login(self.get_body_argument("user"), remember=True)
        self.redirect("/")


class Logout(SessionHandler):
    def post(self) -> None:
        self.session.logout()
        self.redirect("/login", status=303)


ROUTES: list[Any] = [
    ("/", Home),
    ("/anybody", Anybody),
    ("/login", Login),
    ("/logout", Logout),
]


class Kit(SessionTestCase):
    cookie: Any = None

    def get_app(self) -> Application:
        manager = SessionManager("memory://", cookie=self.cookie)
        return Application(
            ROUTES, cookie_secret=SECRET, session_manager=manager, login_url="/login"
        )


class TestAVisitor(Kit):
    def test_is_logged_in_at_once_with_data(self) -> None:
        self.login("ada", n=3)
        assert self.fetch("/").body == b"Hello ada, 3"
        assert self.fetch("/").body == b"Hello ada, 3"

    def test_may_be_nobody_with_data(self) -> None:
        self.login(n=3)
        assert self.fetch("/anybody").body == b'{"user": null, "n": 3}'
        with pytest.raises(ValueError, match="holds nothing"):
            self.login()

    def test_who_is_not_logged_in_is_sent_to_the_login(self) -> None:
        response = self.fetch("/")
        assert (response.code, response.body) == (200, b"who?")
        assert self.fetch("/", follow_redirects=False).code == 302

    def test_keeps_the_cookie_of_a_login_across_its_redirect(self) -> None:
        response = self.fetch("/login", method="POST", body="user=eve")
        assert response.body == b"Hello eve, None"

    def test_forgets_what_is_cleared(self) -> None:
        self.login("ada")
        assert self.fetch("/logout", method="POST", body="").body == b"who?"
        assert self.cookies == {}

    def test_can_be_two_one_after_the_other(self) -> None:
        self.login("ada")
        self.login("bob")
        assert self.fetch("/").body == b"Hello bob, None"

    def test_headers_of_a_request_win(self) -> None:
        self.login("ada")
        assert self.fetch("/anybody", headers={"Cookie": "a=b"}).body == b'{"user": null}'


class TestWithAToken(Kit):
    cookie = TokenPolicy()

    def test_the_header_is_sent(self) -> None:
        self.login("ada", n=1)
        assert self.cookies == {}
        assert self.fetch("/").body == b"Hello ada, 1"


class TestWithACookieOfItsOwn(Kit):
    cookie = staticmethod(lambda _request: CookiePolicy(name="sid", persist=False))

    def test_it_has_its_name(self) -> None:
        self.login("ada")
        assert [*self.cookies] == ["sid"]
        assert self.fetch("/").body == b"Hello ada, None"


class TestOtherRunners(AsyncHTTPTestCase):
    def get_app(self) -> Application:
        manager = SessionManager("memory://", touch_interval=timedelta(seconds=1))
        return Application(ROUTES, cookie_secret=SECRET, session_manager=manager)

    @gen_test
    async def test_they_have_the_headers(self) -> None:
        headers = await session_headers(self._app, "ada", n=2)
        response = await self.http_client.fetch(self.get_url("/"), headers=headers)
        assert response.body == b"Hello ada, 2"

    @gen_test
    async def test_an_application_without_sessions_is_named(self) -> None:
        with pytest.raises(ConfigurationError, match="no setting session_manager"):
            await session_headers(Application(), "ada")


class Cookies(RequestHandler):
    def get(self, what: str) -> None:
        match what:
            case "set":
                self.add_header("Set-Cookie", "theme=dark; Path=/; Priority=High; Partitioned")
            case "clear":
                self.clear_cookie("theme")
            case "far":
                self.redirect("/cookies/set")
            case "wrong":
                self.send_error(418)
        self.set_header("Theme", self.get_cookie("theme", "none") or "empty")


class TestCookies(SessionTestCase):
    def get_app(self) -> Application:
        manager = SessionManager("memory://", cookie=CookiePolicy(priority="high"))
        routes: list[Any] = [*ROUTES, ("/cookies/(.*)", Cookies)]
        return Application(routes, cookie_secret=SECRET, session_manager=manager)

    def test_those_of_others_are_kept_and_cleared_too(self) -> None:
        self.fetch("/cookies/set")
        assert self.cookies == {"theme": "dark"}
        assert self.fetch("/cookies/clear").headers["Theme"] == "dark"
        assert self.cookies == {}

    def test_an_error_is_raised_at_the_end_of_the_way(self) -> None:
        assert self.fetch("/cookies/far", raise_error=True).code == 200
        with pytest.raises(HTTPClientError, match="418"):
            self.fetch("/cookies/wrong", raise_error=True)

    def test_any_name_may_be_data(self) -> None:
        self.login("ada", path="/home", url="x", user_id="y", app=1)
        found = json.loads(self.fetch("/anybody").body)
        assert (found["path"], found["url"], found["user_id"], found["app"]) == (
            "/home",
            "x",
            "y",
            1,
        )


class TestOverHttps(Kit, AsyncHTTPSTestCase):
    def test_the_cookie_is_that_of_https(self) -> None:
        self.login("ada")
        assert [*self.cookies] == ["__Host-session"]
        assert self.fetch("/").body == b"Hello ada, None"


class TestItsSession(SessionTestCase):
    cookie: Any = None

    def get_app(self) -> Application:
        manager = SessionManager("memory://", clock=self.clock, cookie=self.cookie)
        return Application(
            ROUTES, cookie_secret=SECRET, session_manager=manager, login_url="/login"
        )

    def test_is_what_is_stored_now(self) -> None:
        assert self.session() is None
        self.fetch("/login", method="POST", body="user=eve")
        session = self.session()
        assert session is not None
        assert session.user_id == "eve"
        self.fetch("/logout", method="POST", body="")
        assert self.session() is None

    def test_ends_when_the_clock_is_moved(self) -> None:
        self.login("ada", n=1)
        self.clock.advance(minutes=59)
        assert self.fetch("/").body == b"Hello ada, 1"
        self.clock.advance(timedelta(hours=1))
        assert self.session() is None
        assert self.fetch("/").body == b"who?"

    def test_a_clock_does_not_go_back(self) -> None:
        with pytest.raises(ValueError, match="does not go back"):
            self.clock.advance(seconds=-1)
        start = datetime(2030, 1, 1, tzinfo=UTC)
        assert Clock(start).now == start


class TestItsSessionWithAToken(TestItsSession):
    cookie = staticmethod(lambda _request: TokenPolicy())

    def test_is_what_is_stored_now(self) -> None:
        self.login("ada", n=1)
        session = self.session()
        assert session is not None
        assert dict(session) == {"n": 1}

    test_ends_when_the_clock_is_moved = None


class Page(SessionHandler):
    async def get(self) -> None:
        self.write(f"{self.session.increment('n')}")


async def test_a_store_fails_when_the_test_says_so() -> None:
    store = FaultyStore()
    async with visiting(page_over(store)) as visitor:
        assert (await visitor.fetch("/")).body == b"1"
        assert store.calls == ["save"]
        store.fail("save", times=1)
        assert (await visitor.fetch("/")).code == 503
        assert (await visitor.fetch("/")).body == b"2"
        store.fail()
        assert (await visitor.fetch("/")).code == 503
        store.heal()
        store.fail("load", error=ValueError("broken"))
        assert (await visitor.fetch("/")).code == 500
        store.heal()
        assert (await visitor.fetch("/")).body == b"3"


async def test_a_lost_answer_leaves_what_was_done() -> None:
    store = FaultyStore()
    async with visiting(page_over(store)) as visitor:
        await visitor.fetch("/")
        store.lose_answers("save", times=1)
        assert (await visitor.fetch("/")).code == 503
        assert (await visitor.fetch("/")).body == b"3"


async def test_calls_wait_while_they_are_held() -> None:
    store = FaultyStore(MemoryStore())
    async with visiting(page_over(store)) as visitor:
        await visitor.fetch("/")
        with store.hold("save") as held:
            one, two = (asyncio.ensure_future(visitor.fetch("/")) for _ in range(2))
            await held.arrived()
            assert not one.done()
        assert {(await one).body, (await two).body} == {b"2"}  # each its own view of it
        session = await visitor.session()
        assert session is not None
        assert session["n"] == 3


async def test_a_verb_that_no_store_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no verb 'lod'; it has load, save"):
        FaultyStore().fail("lod")


def page_over(store: FaultyStore) -> Application:
    manager = SessionManager(store, log=False)
    return Application([("/", Page)], cookie_secret=SECRET, session_manager=manager)


class TestFaultyStore(StoreContract):
    """Without a fault it is a store like any other."""

    def make_store(self) -> FaultyStore:
        return FaultyStore()


FIXTURES = """
import pytest
from tornado.web import Application, authenticated
from hello_tornado.sessions import SessionHandler, SessionManager

pytest_plugins = ["hello_tornado.sessions.testing.pytest_plugin"]

class Home(SessionHandler):
    @authenticated
    def get(self):
        self.session.increment("n")
        self.write(f"Hello {self.current_user}")

@pytest.fixture
def manager(session_store, session_clock):
    return SessionManager(session_store, clock=session_clock)

@pytest.fixture
def app(manager):
    settings = {"cookie_secret": "x" * 40, "login_url": "/l"}
    return Application([("/", Home)], session_manager=manager, **settings)

def test_home(visitor):
    visitor.login("ada", n=3)
    assert visitor.fetch("/").body == b"Hello ada"
    assert visitor.session()["n"] == 4
    assert "session" in visitor.cookies

def test_idle(visitor, session_clock):
    visitor.login("ada")
    session_clock.advance(hours=25)
    assert visitor.session() is None

def test_down(visitor, session_store):
    visitor.login("ada")
    session_store.fail("load")
    assert visitor.fetch("/").code == 503

def test_revoked(visitor, manager):
    visitor.login("ada")
    assert visitor.run(manager.revoke_user("ada")) == 1
    assert visitor.fetch("/", follow_redirects=False).code == 302
"""
BESIDE_PYTEST_TORNADO = """
@pytest.mark.gen_test
async def test_with_pytest_tornado(app, http_client, base_url):
    from hello_tornado.sessions.testing import session_headers, visiting
    async with visiting(app) as visitor:
        await visitor.login("ada")
        assert (await visitor.fetch("/")).body == b"Hello ada"
    headers = await session_headers(app, "bob")
    assert headers["Cookie"].startswith("session=")
"""


@pytest.mark.parametrize("others", ["with pytest-tornado", "alone"])
def test_the_fixtures_need_no_other_plug_in(tmp_path: Path, others: str) -> None:
    is_alone = others == "alone"
    code = FIXTURES if is_alone else FIXTURES + BESIDE_PYTEST_TORNADO
    (tmp_path / "test_it.py").write_text(code)
    # What pytest-tornado imports is gone from setuptools since version 82.
    begin = "import sys; sys.modules['pkg_resources'] = None; " if is_alone else "import sys; "
    plugins = ["-p", "no:tornado", "-p", "no:anyio"] if is_alone else []
    run = f"{begin}import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", run, "-q", "-p", "no:cacheprovider", *plugins, "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{4 if is_alone else 5} passed" in done.stdout, done.stdout + done.stderr
