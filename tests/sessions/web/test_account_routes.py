"""The pages of one's sessions, in an application that is not ours."""

import re
from base64 import b64encode
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from fakes import SECRET
from tornado.httpclient import HTTPResponse
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application, RequestHandler

from hello_tornado.sessions import Session, SessionManager, SessionMixin
from hello_tornado.sessions.session.device import Device
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.web.account.handlers import SHOWN, account_routes

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


class Login(SessionMixin, RequestHandler):
    def get(self, name: str) -> None:
        self.session.login(name)


class Quiet(SessionMixin, RequestHandler):
    def get_session_device(self) -> Device | None:
        return None

    def get(self) -> None:
        self.session.login("Ada")


class Strict(SessionMixin, RequestHandler):
    """An application's own base: headers, and a password that it asks for again."""

    def set_default_headers(self) -> None:
        self.set_header("X-Ours", "yes")

    async def may_end_sessions(self) -> bool:
        self.set_status(401)
        return False


class AccountPages(AsyncHTTPTestCase):
    xsrf_cookies = False

    @pytest.fixture(autouse=True)
    def moving(self, clock: Any) -> None:
        self.clock = clock

    def get_app(self) -> Application:
        self.manager = SessionManager(
            MemoryStore(),
            trusted_proxies=["127.0.0.1"],
            clock=self.clock,
        )
        return Application(
            [
                ("/login/(.*)", Login),
                ("/quiet", Quiet),
                *account_routes(),
                *account_routes("/strict", base=Strict),
            ],
            cookie_secret=SECRET,
            session_manager=self.manager,
            login_url="/login/",
            xsrf_cookies=self.xsrf_cookies,
        )

    def visit(
        self, path: str, cookie: str = "", form: dict[str, str] | None = None, **headers: str
    ) -> HTTPResponse:
        return self.fetch(
            path,
            method="GET" if form is None else "POST",
            body=None if form is None else urlencode(form),
            headers={"Cookie": cookie, "User-Agent": FIREFOX, **headers},
            follow_redirects=False,
        )

    def log_in(self, name: str = "Ada", **headers: str) -> str:
        response = self.visit(f"/login/{name}", **headers)
        return response.headers["Set-Cookie"].partition(";")[0]

    def sessions(self, name: str = "Ada") -> list[Session]:
        async def find() -> list[Session]:
            return [*await self.manager.sessions_of(name)]

        return self.io_loop.run_sync(find)

    def page(self, cookie: str) -> str:
        response = self.visit("/account/sessions", cookie)
        assert response.code == 200
        return response.body.decode()


class TestAccountPages(AccountPages):
    def test_the_page_lists_ones_devices_and_holds_no_secret(self) -> None:
        forwarded = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
        cookie = self.log_in(**forwarded)
        self.clock.advance(minutes=5)
        other = self.log_in(**{"User-Agent": "<b>curl</b>"})
        self.log_in("Bob")
        page = self.page(cookie)
        assert page.count("Firefox on Linux") == 1
        assert page.count("(this device)") == 1
        assert "198.51.100.7" in page
        assert "203.0.113.9" not in page  # that one, anybody may say
        assert "&lt;b&gt;curl" in page
        assert page.count("<h2>") == 2
        for record in self.manager.store._records.values():
            assert record.key.hex() not in page
        for secret in (cookie, other):
            assert secret.partition("=")[2] not in page

    def test_the_page_is_nobody_elses_to_keep_or_to_frame(self) -> None:
        response = self.visit("/account/sessions", self.log_in())
        assert response.headers["Cache-Control"] == "no-store"
        assert "Cookie" in response.headers["Vary"]
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]

    def test_one_session_ends_and_the_others_live(self) -> None:
        mine, others = self.log_in(), [self.log_in() for _ in range(2)]
        response = self.visit(f"/account/sessions/{self.handle_of(others[0])}/revoke", mine, {})
        assert (response.code, response.headers["Location"]) == (303, "/account/sessions")
        assert "Signed out: Firefox on Linux." in self.page(mine)
        assert "Signed out: " not in self.page(mine)
        assert self.visit("/account/sessions", others[0]).code == 302
        assert self.page(others[1])

    def handle_of(self, cookie: str) -> str:
        (handle,) = re.findall(
            r"sessions/([^/]+)/revoke\" method=\"post\">\s*<button>Sign out</", self.page(cookie)
        )
        return handle

    def test_to_end_ones_own_session_is_to_log_out(self) -> None:
        mine = self.log_in()
        response = self.visit(f"/account/sessions/{self.handle_of(mine)}/revoke", mine, {})
        assert response.code == 303
        assert "Max-Age=0" in response.headers["Set-Cookie"]
        assert self.visit("/account/sessions", mine).headers["Location"].startswith("/login/")

    def test_all_others_end_at_once(self) -> None:
        mine, others, bob = self.log_in(), [self.log_in() for _ in range(3)], self.log_in("Bob")
        self.visit("/account/sessions/revoke-others", mine, {})
        page = self.page(mine)
        assert "Signed out on 3 other devices." in page
        assert "Sign out all other devices" not in page
        assert all(self.visit("/account/sessions", other).code == 302 for other in others)
        assert self.page(bob)
        for count, told in ((0, "There was no other device."), (1, "on one other device.")):
            for _ in range(count):
                self.log_in()
            self.visit("/account/sessions/revoke-others", mine, {})
            assert told in self.page(mine)

    def test_another_users_session_is_a_404_like_one_that_is_none(self) -> None:
        mine, bob = self.log_in(), self.log_in("Bob")
        theirs = self.handle_of(bob)
        for handle in (theirs, "nobodys-handle"):
            response = self.visit(f"/account/sessions/{handle}/revoke", mine, {})
            assert response.code == 404
        assert self.page(bob)

    def test_who_is_not_logged_in_sees_and_ends_nothing(self) -> None:
        handle = self.handle_of(self.log_in())
        response = self.visit("/account/sessions")
        assert (response.code, response.headers["Location"]) == (
            302,
            "/login/?next=%2Faccount%2Fsessions",
        )
        for path in (f"{handle}/revoke", "revoke-others"):
            assert self.visit(f"/account/sessions/{path}", form={}).code == 403
        assert len(self.sessions()) == 1

    def test_looking_changes_nothing(self) -> None:
        mine = self.log_in()
        handle = self.handle_of(mine)
        for path in (f"{handle}/revoke", "revoke-others"):
            assert self.visit(f"/account/sessions/{path}", mine).code == 405
        assert len(self.sessions()) == 1

    def test_an_applications_own_base_wins(self) -> None:
        mine, other = self.log_in(), self.log_in()
        assert self.visit("/strict/sessions", mine).headers["X-Ours"] == "yes"
        for path in ("revoke-others", f"{self.handle_of(other)}/revoke"):
            assert self.visit(f"/strict/sessions/{path}", mine, {}).code == 401
        assert len(self.sessions()) == 2

    def test_an_application_may_note_no_device(self) -> None:
        response = self.visit("/quiet")
        page = self.page(response.headers["Set-Cookie"].partition(";")[0])
        assert "Unknown device (this device)" in page
        assert "127.0.0.1" not in page

    def test_a_crowd_of_sessions_is_not_a_page_without_end(self) -> None:
        mine = self.log_in()
        for _ in range(SHOWN + 4):
            self.log_in()
        page = self.page(mine)
        assert page.count("<h2>") == SHOWN
        assert page.index("(this device)") < page.index("</h2>"), "the first"
        assert page.index("Sign out all other devices") < page.index("<h2>")
        assert f"Page 1 of 2, {SHOWN + 5} devices" in page
        rest = self.visit("/account/sessions?page=2", mine).body.decode()
        assert rest.count("<h2>") == 5
        assert not set(re.findall("sessions/([^/]+)/revoke", page)) & set(
            re.findall("sessions/([^/]+)/revoke", rest)
        )
        for odd in ("0", "-1", "99999999999", "x", "\u0661", ""):
            answer = self.visit(f"/account/sessions?page={quote(odd)}", mine)
            assert answer.code == 200, odd

    def test_times_are_relative_with_the_exact_one_as_title(self) -> None:
        mine = self.log_in()
        for ago, told in ((59, "just now"), (60, "1 minute ago"), (1800, "31 minutes ago")):
            self.clock.advance(seconds=ago)
            other = self.page(self.log_in())
            assert f">{told}</time>" in other
        assert re.search(r'title="\d\d \w+ \d{4}, [\d:]{8} UTC"', self.page(mine))

    def test_the_policy_allows_the_style_of_the_page_and_nothing_else(self) -> None:
        answer = self.visit("/account/sessions", self.log_in())
        (style,) = re.findall("<style>(.*?)</style>", answer.body.decode(), re.DOTALL)
        digest = b64encode(sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}';" in answer.headers["Content-Security-Policy"]


class TestXsrf(AccountPages):
    xsrf_cookies = True

    def test_the_forms_carry_the_token(self) -> None:
        mine = self.log_in()
        self.log_in()
        page = self.page(mine)
        assert self.visit("/account/sessions/revoke-others", mine, {}).code == 403
        token = re.findall(r'name="_xsrf" value="([^"]+)"', page)[-1]
        self.visit("/account/sessions/revoke-others", mine, {"_xsrf": token})
        assert len(self.sessions()) == 1
