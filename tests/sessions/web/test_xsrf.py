"""Requests from other sites: origins that are none, and tokens that are bound to the session."""

import re
from typing import Any, ClassVar

import pytest
from fakes import SECRET
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.testing import AsyncHTTPTestCase, gen_test
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClientConnection, websocket_connect

from hello_tornado.sessions import SessionManager, SessionMixin, WebSocketSessionMixin
from hello_tornado.sessions.stores.memory import MemoryStore

FOREIGN = ["https://evil.example", "null", "https://[bad", "", "file://", "http://127.0.0.1.evil"]


class Form(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.write(self.xsrf_form_html())

    async def post(self) -> None:
        match self.get_argument("deed", "count"):
            case "login":
                self.session.login("ada")
                await self.save_session()
                self.write(self.xsrf_form_html())
            case "logout":
                self.session.destroy()
            case _:
                self.write(f"{self.session.increment('n')}")


class Socket(WebSocketSessionMixin):
    login_required = False

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


class CrossSite(AsyncHTTPTestCase):
    settings: ClassVar[dict[str, Any]]

    def get_app(self) -> Application:
        return Application(
            [("/", Form), ("/socket", Socket)],
            cookie_secret=SECRET,
            session_manager=SessionManager(MemoryStore()),
            **self.settings,
        )

    def setUp(self) -> None:
        super().setUp()
        self.jar: dict[str, str] = {}

    def ask(self, body: str | None = None, cookies: str | None = None, **headers: str) -> Any:
        pairs = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        answer = self.fetch(
            "/",
            method="GET" if body is None else "POST",
            body=body,
            headers={"Cookie": pairs if cookies is None else cookies} | headers,
        )
        for cookie in answer.headers.get_list("Set-Cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.jar[name] = value
        return answer


class TestOrigins(CrossSite):
    settings: ClassVar = {
        "cross_origin_protection": True,
        "trusted_origins": ["https://friend.example"],
    }

    def test_a_foreign_origin_is_forbidden_whatever_it_looks_like(self) -> None:
        for origin in FOREIGN[:-1]:
            assert self.ask("", Origin=origin).code == 403, origin
            assert self.ask("", Origin=origin, Host="").code in {400, 403}, origin
        for site in ("cross-site", "same-site", "nonsense"):
            assert self.ask("", **{"Sec-Fetch-Site": site}).code == 403
        assert not self.jar

    def test_ones_own_and_a_trusted_one_are_not(self) -> None:
        own = f"http://127.0.0.1:{self.get_http_port()}"
        for origin in (own, "https://friend.example"):
            assert self.ask("", Origin=origin).code == 200
        assert self.ask("").code == 200, "no browser"

    @gen_test
    async def test_a_socket_from_elsewhere_is_refused_before_the_upgrade(self) -> None:
        url = f"ws://127.0.0.1:{self.get_http_port()}/socket"
        for origin in FOREIGN:
            with pytest.raises(HTTPClientError) as refused:
                await websocket_connect(HTTPRequest(url, headers={"Origin": origin}))
            assert refused.value.code == 403, origin
        own = HTTPRequest(url, headers={"Origin": f"http://127.0.0.1:{self.get_http_port()}"})
        connection = await websocket_connect(own)
        assert isinstance(connection, WebSocketClientConnection)
        connection.close()


class TestTokens(CrossSite):
    settings: ClassVar = {"xsrf_cookies": True}

    def token(self, answer: Any) -> str:
        found = re.search(r'value="([^"]+)"', answer.body.decode())
        assert found is not None
        return found[1]

    def test_without_a_session_it_is_tornados_own(self) -> None:
        token = self.token(self.ask())
        assert "_xsrf" in self.jar
        assert self.ask("").code == 403
        assert self.ask(f"_xsrf={token}").body == b"1"

    def test_with_a_session_no_cookie_can_forge_it(self) -> None:
        self.ask(f"_xsrf={self.token(self.ask())}")
        token = self.token(self.ask())
        assert self.ask(f"_xsrf={token}").body == b"2"
        self.jar["_xsrf"] = "00" * 16
        assert self.ask(f"_xsrf={'00' * 16}").code == 403, (
            "cookie and field agree, and it is naught"
        )
        assert self.ask(f"_xsrf={token}").body == b"3"
        assert self.ask("", **{"X-Xsrftoken": token}).body == b"4"

    def test_a_login_and_a_logout_void_it(self) -> None:
        before = self.token(self.ask())
        login = self.ask(f"deed=login&_xsrf={before}")
        assert self.ask(f"_xsrf={before}").code == 403
        token = self.token(login)
        assert self.ask(f"_xsrf={token}").body == b"1"
        copy = dict(self.jar)
        assert self.ask(f"deed=logout&_xsrf={token}").code == 200
        self.jar = dict(copy)
        assert self.ask(f"deed=logout&_xsrf={token}").code == 200, "a double click"
        assert self.ask(f"deed=login&_xsrf={token}").code == 200, "by a page from before"
        assert self.jar["session"] != copy["session"]
        assert self.ask(f"_xsrf={token}").code == 403, "of a session that is over"

    def test_the_token_of_one_session_is_worthless_beside_the_cookie_of_another(self) -> None:
        jars, tokens = [], []
        for _ in range(2):
            self.jar = {}
            login = self.ask(f"deed=login&_xsrf={self.token(self.ask())}")
            jars.append(f"session={self.jar['session']}")
            tokens.append(self.token(login))
        mine, evils = jars
        assert self.ask(f"_xsrf={tokens[1]}", cookies=mine).code == 403
        self.ask(f"deed=logout&_xsrf={tokens[1]}", cookies=evils)
        for cookies in (f"{mine}; {evils}", f"{evils}; {mine}"):
            assert self.ask(f"_xsrf={tokens[1]}", cookies=cookies).code == 403, "tossed and dead"
            assert self.ask(f"_xsrf={tokens[0]}", cookies=cookies).code == 200
