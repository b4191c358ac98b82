"""The kit for tests of applications: a visitor who is logged in at once and keeps cookies."""

import json
from datetime import timedelta
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError
from tornado.testing import AsyncHTTPSTestCase, AsyncHTTPTestCase, gen_test
from tornado.web import Application, RequestHandler, authenticated

from hello_tornado.sessions import CookiePolicy, SessionHandler, SessionManager, TokenPolicy
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.testing import SessionTestCase, session_headers

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
