"""What a handler may say in its class: that it only reads, and that it keeps nobody alive."""

from datetime import timedelta
from typing import Any

import pytest
from fakes import SECRET
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application, RequestHandler

from hello_tornado.sessions import SessionManager, SessionMixin
from hello_tornado.sessions.errors import ReadOnly
from hello_tornado.sessions.stores.memory import MemoryStore


class Login(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.session["cart"] = ["tea"]
        self.session.login("ada")


class Reading(SessionMixin, RequestHandler):
    session_read_only = True

    def get(self, deed: str) -> None:
        try:
            match deed:
                case "write":
                    self.session["cart"] = []
                case "increment":
                    self.session.increment("n")
                case "destroy":
                    self.session.destroy()
                case "login":
                    self.session.login("eve")
                case "inside":
                    self.session["cart"].append("milk")
        except ReadOnly as error:
            self.write(f"refused: {error}")
        else:
            self.write(f"{self.session.get('cart')}")


class Polling(SessionMixin, RequestHandler):
    session_touch = False

    def get(self) -> None:
        self.write(f"{self.session.user_id}")


class Home(Polling):
    session_touch = True


class TestHandlerModes(AsyncHTTPTestCase):
    @pytest.fixture(autouse=True)
    def moving(self, clock: Any) -> None:
        self.clock = clock

    def get_app(self) -> Application:
        self.manager = SessionManager(MemoryStore(), clock=lambda: self.clock.now)
        return Application(
            [("/login", Login), ("/read/(.*)", Reading), ("/poll", Polling), ("/", Home)],
            cookie_secret=SECRET,
            session_manager=self.manager,
        )

    def log_in(self) -> None:
        self.cookie = self.fetch("/login").headers["Set-Cookie"].partition(";")[0]

    def get(self, path: str) -> Any:
        return self.fetch(path, headers={"Cookie": self.cookie})

    def stored(self) -> Any:
        async def load() -> Any:
            key = (await self.manager.store.page(None, 1))[0].key
            return (await self.manager.store.load([key]))[key]

        return self.io_loop.run_sync(load)

    def test_a_handler_that_only_reads_refuses_every_write(self) -> None:
        self.log_in()
        before = self.stored()
        assert self.get("/read/nothing").body == b"['tea']"
        for deed in ("write", "increment", "destroy", "login"):
            answer = self.get(f"/read/{deed}").body
            assert answer == b"refused: Reading.session_read_only is set", deed
        assert self.get("/read/inside").code == 500
        assert self.stored() == before
        self.cookie = "none=at all"
        assert self.get("/read/write").body.startswith(b"refused")
        assert self.get("/read/nothing").body == b"None"

    def test_reading_keeps_a_session_alive_also_where_it_is_all_that_is_allowed(self) -> None:
        self.log_in()
        before = self.stored()
        self.clock.now += timedelta(minutes=30) // timedelta(microseconds=1)
        self.get("/read/nothing")
        assert self.stored().expires_at > before.expires_at

    def test_who_only_polls_keeps_nobody_logged_in(self) -> None:
        self.log_in()
        before = self.stored()
        for _ in range(5):
            self.clock.now += timedelta(minutes=10) // timedelta(microseconds=1)
            answer = self.get("/poll")
            assert answer.body == b"ada"
            assert "Set-Cookie" not in answer.headers
        assert self.stored() == before
        self.clock.now += timedelta(minutes=10) // timedelta(microseconds=1)
        assert self.get("/poll").body == b"None"

    def test_a_page_beside_the_poll_does(self) -> None:
        self.log_in()
        for _ in range(9):
            self.clock.now += timedelta(minutes=10) // timedelta(microseconds=1)
            assert self.get("/poll").body == b"ada"
            answer = self.get("/")
            assert answer.body == b"ada"
            self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
