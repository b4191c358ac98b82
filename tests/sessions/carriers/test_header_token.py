"""The session's id in a header, for clients that keep no cookies; and never in both."""

from typing import Any

import pytest
from fakes import SECRET
from tornado.httputil import HTTPHeaders
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application, RequestHandler

from hello_tornado.sessions import CookiePolicy, SessionManager, SessionMixin
from hello_tornado.sessions.carriers.header_token import TokenPolicy
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.events import CookieRejected, SessionEvent
from hello_tornado.sessions.stores.memory import MemoryStore

HEADER = "X-Session-Token"


class Count(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.write(f"{self.session.increment('n')}")

    def post(self) -> None:
        self.session.login("ada")

    def delete(self) -> None:
        self.session.destroy()


class TestTokens(AsyncHTTPTestCase):
    def get_app(self) -> Application:
        self.events: list[SessionEvent] = []
        token, cookie = TokenPolicy(), CookiePolicy()
        self.manager = SessionManager(
            MemoryStore(),
            cookie=lambda request: token if request.path == "/api" else cookie,
            hooks=[self.events.append],
        )
        return Application(
            [("/.*", Count)],
            cookie_secret=SECRET,
            session_manager=self.manager,
        )

    def call(self, token: str | None, path: str = "/api", **options: Any) -> Any:
        headers = {} if token is None else {HEADER: token}
        return self.fetch(path, headers=headers, allow_nonstandard_methods=True, **options)

    def test_a_token_is_given_once_and_carries_the_session(self) -> None:
        first = self.call(None)
        token = first.headers[HEADER]
        assert first.body == b"1"
        assert "Set-Cookie" not in first.headers
        assert first.headers["Cache-Control"] == "no-store"
        assert first.headers["Vary"] == HEADER
        second = self.call(token)
        assert second.body == b"2"
        assert HEADER not in second.headers

    def test_a_login_renews_it_and_a_logout_empties_it(self) -> None:
        first = self.call(None).headers[HEADER]
        second = self.call(first, method="POST").headers[HEADER]
        assert self.call(first).body == b"1", "the old one is dead, and begins anew"
        assert self.call(second).body == b"2"
        over = self.call(second, method="DELETE")
        assert over.headers[HEADER] == ""
        assert self.call(second).body == b"1"
        assert self.call("").body == b"1"

    def test_a_token_is_no_cookie_and_a_cookie_no_token(self) -> None:
        token = self.call(None).headers[HEADER]
        given = self.fetch("/page").headers["Set-Cookie"].partition(";")[0]
        value = given.partition("=")[2]
        assert self.fetch("/page", headers={"Cookie": f"session={token}"}).body == b"1"
        assert self.call(value).body == b"1"
        assert self.fetch("/page", headers={HEADER: token}).body == b"1"
        assert self.fetch("/api", headers={"Cookie": given}).body == b"1"
        both = {"Cookie": given, HEADER: token}
        assert self.fetch("/page", headers=both).body == b"2"
        assert self.fetch("/api", headers=both).body == b"2"

    def test_a_forged_token_and_two_of_them_are_no_session(self) -> None:
        token = self.call(None).headers[HEADER]
        assert self.call(token[:-1] + "x").body == b"1"
        twice = HTTPHeaders()
        twice.add(HEADER, token)
        twice.add(HEADER, token)
        assert self.fetch("/api", headers=twice).body == b"1"
        reasons = [event.reason for event in self.events if isinstance(event, CookieRejected)]
        assert reasons == ["not_ours", "too_many"]


@pytest.mark.parametrize("header", ["", "Cookie", "Set-Cookie", "a b", "X-\r\n", None, 7, b"X-T"])
def test_not_every_header_can_carry_it(header: Any) -> None:
    with pytest.raises(ConfigurationError, match="the name of a header"):
        TokenPolicy(header=header)
