"""The pages: who is greeted, who is not, and what every answer carries."""

import logging
from typing import Any
from urllib.parse import quote

from tornado.web import create_signed_value
from visiting import SECRET, Visits

from hello_tornado.handlers.base import BaseHandler
from hello_tornado.sessions import Store, open_store

HARMFUL = [
    "//evil",
    "/\\evil",
    "\\\\evil",
    "https:evil",
    "https:///evil",
    "javascript:alert(1)",
    "data:x",
    "http://host@evil",
    "//evil%2f..",
    "/\t/evil",
    "/\r\nSet-Cookie: a=b",
    "/ evil",
    "/ünïcode",
    "evil",
    "/" + "x" * 3_000,
]
FORGED = [
    "forged",
    "",
    '""',
    "2|1:0|10:1795447556|7:session|4:eHl6|00",
    "2|" + "9" * 9_999,
    "x" * 12_000,
    create_signed_value(SECRET, "session", "x" * 43, version=1).decode(),
    create_signed_value(SECRET, "another", "x" * 43).decode(),
]


class PagesContract:
    """Holds over every store."""

    def test_a_stranger_is_greeted_without_a_name_a_cookie_or_a_row(self: Any) -> None:
        response = self.visit("/")
        body = response.body.decode()
        assert "<h1>Hello</h1>" in body
        assert 'href="/user/login"' in body
        assert "Set-Cookie" not in response.headers
        assert self.store.calls == []

    def test_a_login_is_greeted_by_name(self: Any) -> None:
        response = self.log_in("Ada <i>")
        assert (response.code, response.headers["Location"]) == (303, "/")
        cookie = response.headers["Set-Cookie"]
        assert cookie.endswith("; Max-Age=7200; Path=/; HttpOnly; SameSite=Lax")
        assert response.headers["Cache-Control"] == "no-store"
        assert "<h1>Hello Ada &lt;i&gt;</h1>" in self.page()
        assert self.rows("ada <i>") == 1

    def test_a_login_renews_the_id_and_keeps_what_was_gathered(self: Any) -> None:
        self.visit("/api/session/cart", "PUT", body="[1]")
        before = self.cookie
        self.log_in()
        assert self.data() == {"cart": [1], "username": "Ada"}
        assert self.cookie != before
        self.cookie = before
        assert self.data() == {}

    def test_another_person_does_not_inherit(self: Any) -> None:
        self.log_in("Ada")
        self.visit("/api/session/diary", "PUT", body='"dear diary"')
        self.log_in("Bob")
        assert self.data() == {"username": "Bob"}

    def test_a_logout_is_final(self: Any) -> None:
        self.log_in()
        cookie = self.cookie
        response = self.visit("/user/logout", "POST")
        assert (response.code, response.headers["Location"]) == (303, "/")
        assert response.headers["Set-Cookie"] == (
            "session=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; "
            "Path=/; HttpOnly; SameSite=Lax"
        )
        assert self.rows("ada") == 0
        self.cookie = cookie
        assert "<h1>Hello</h1>" in self.page()
        assert self.data() == {}

    def test_both_timeouts_hold_and_a_browser_in_use_keeps_its_cookie(self: Any) -> None:
        self.log_in()
        for n in range(40):
            self.clock.advance(minutes=35)
            response = self.visit("/")
            assert "Hello Ada" in response.body.decode()
            left = min(60, 24 * 60 - 35 * (n + 1))  # minutes, and an hour for the reason
            assert f"Max-Age={(left + 60) * 60};" in response.headers["Set-Cookie"]
        self.clock.advance(minutes=40)
        assert "Hello Ada" not in self.page(), "after 24 hours in constant use"
        self.cookie = None
        self.log_in()
        self.clock.advance(minutes=60)
        assert "Hello Ada" not in self.page(), "after an hour without use"

    def test_a_forged_cookie_is_anonymous_and_asks_the_store_nothing(self: Any) -> None:
        for value in FORGED:
            response = self.visit("/", Cookie=f"session={value}")
            assert (response.code, self.store.calls) == (200, []), value
            assert "Set-Cookie" not in response.headers
        assert not [record for record in self.caplog.records if record.levelno >= logging.ERROR]

    def test_of_several_cookies_the_one_that_lives_is_the_session(self: Any) -> None:
        self.log_in("Ada")
        ada = self.cookie
        self.visit("/user/logout", "POST")
        self.log_in("Bob")
        bob, self.cookie = self.cookie, None
        self.log_in("Eve")
        eve, self.cookie = self.cookie, None
        assert "Hello Bob" in self.visit("/", Cookie=f"{ada}; {bob}").body.decode()
        assert "Hello Bob" in self.visit("/", Cookie=f"{bob}; session=x").body.decode()
        assert "<h1>Hello</h1>" in self.visit("/", Cookie=f"{bob}; {eve}").body.decode()
        assert "<h1>Hello</h1>" in self.visit("/", Cookie="; ".join([bob] * 5)).body.decode()
        assert "reason='ambiguous'" in self.caplog.text
        assert "reason='too_many'" in self.caplog.text

    def test_a_store_that_is_down_is_a_503_and_never_an_anonymous_200(self: Any) -> None:
        self.log_in()
        self.store.is_down = True
        for path, method in (("/", "GET"), ("/user/login", "POST"), ("/user/logout", "POST")):
            response = self.visit(path, method, form={"username": "x"} if method != "GET" else None)
            assert response.code == 503
            assert response.headers["Retry-After"] == "5"
            assert "Set-Cookie" not in response.headers
            assert "Nothing was changed" in response.body.decode()
        assert self.visit("/healthz").code == 200
        assert self.visit("/readyz").code == 503
        cookie, self.cookie = self.cookie, None
        assert self.visit("/").code == 200, "a stranger needs no store"
        self.store.is_down, self.cookie = False, cookie
        assert "Hello Ada" in self.page()
        assert self.visit("/readyz").code == 200


class TestPagesOnMemory(PagesContract, Visits):
    pass


class TestPagesOnSqlite(PagesContract, Visits):
    def make_store(self) -> Store:
        return open_store(f"sqlite:///{self.directory}/sessions.db")


class TestLogin(Visits):
    def test_a_name_has_one_form(self) -> None:
        for given in ("  Ada  Lovelace ", "Ada\tLovelace", "Ada\xa0Lovelace"):
            self.log_in(given)
            assert "<h1>Hello Ada Lovelace</h1>" in self.page()
        self.log_in("Zoe\u0301")
        assert "<h1>Hello Zo\u00e9</h1>" in self.page()

    def test_a_name_that_will_not_do_is_explained_and_stores_nothing(self) -> None:
        for given, message in (
            ("", "Please enter a name."),
            ("  \t ", "Please enter a name."),
            ("x" * 65, "at most 64 characters; this one has 65"),
            ("x" * 10_000, "at most 64 characters; this one has 10000"),
            ("a\u202eb", "without control or invisible characters"),
            ("a\u200bb", "without control or invisible characters"),
            ("a\x7fb", "without control or invisible characters"),
        ):
            response = self.log_in(given)
            body = response.body.decode()
            assert (response.code, message in body) == (400, True), given
            assert 'name="username"' in body
            assert "Set-Cookie" not in response.headers
        assert self.store.calls == []

    def test_a_form_that_is_no_utf_8_is_a_400(self) -> None:
        response = self.visit("/user/login", "POST", body=b"username=%ff%fe")
        assert response.code == 400
        assert self.store.calls == []

    def test_next_leads_only_to_paths_of_this_server(self) -> None:
        for target in ("/", "/user/login?a=b#c", "/api/session", "/%20/evil", "/a//b"):
            assert self.log_in(next=target).headers["Location"] == target
        for target in HARMFUL:
            assert self.log_in(next=target).headers["Location"] == "/", target

    def test_the_form_carries_next_and_only_a_good_one(self) -> None:
        assert 'name="next" value="/api/session"' in self.page("/user/login?next=/api/session")
        assert 'name="next"' not in self.page("/user/login?next=" + quote("//evil"))
        assert 'name="next"' not in self.page("/user/login")

    def test_a_get_never_logs_in_or_out(self) -> None:
        assert "Set-Cookie" not in self.visit("/user/login?username=Ada").headers
        self.log_in()
        assert self.visit("/user/logout").code == 405
        assert "Hello Ada" in self.page()

    def test_other_sites_can_neither_log_in_nor_out(self) -> None:
        foreign: list[dict[str, str]] = [
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ]
        self.log_in()
        for headers in foreign:
            assert self.visit("/user/logout", "POST", **headers).code == 403
            assert self.visit("/user/login", "POST", {"username": "Eve"}, **headers).code == 403
        assert "Hello Ada" in self.page()


class Boom(BaseHandler):
    def get(self) -> None:
        raise ZeroDivisionError


class TestEveryAnswer(Visits):
    def test_an_unknown_route_is_a_404_in_the_same_look_and_asks_nothing(self) -> None:
        self.log_in()
        self.store.calls.clear()
        response = self.visit("/nowhere")
        assert response.code == 404
        assert "/static/style.css" in response.body.decode()
        assert "There is nothing at this address." in response.body.decode()
        assert self.store.calls == []

    def test_a_bug_is_a_500_that_tells_nothing(self) -> None:
        self._app.add_handlers(".*", [("/boom", Boom)])
        self.log_in()
        response = self.visit("/boom")
        assert response.code == 500
        assert "ZeroDivisionError" not in response.body.decode()
        assert "The error has been logged" in response.body.decode()
        assert "ZeroDivisionError" in self.caplog.text

    def test_a_flash_is_not_lost_on_an_error_page(self) -> None:
        self.log_in()

        async def leave_a_message() -> None:
            (found,) = await self.manager.sessions_of("ada")
            async with self.manager.transaction(found.handle) as session:
                session.flash("Remember me", "success")

        self.io_loop.run_sync(leave_a_message)
        assert "Remember me" not in self.visit("/user/logout").body.decode()
        assert "Remember me" in self.page()
        assert "Remember me" not in self.page()

    def test_all_of_them_carry_the_headers(self) -> None:
        self._app.add_handlers(".*", [("/boom", Boom)])
        for path, method, code in (
            ("/", "GET", 200),
            ("/", "HEAD", 200),
            ("/user/logout", "POST", 303),
            ("/nowhere", "GET", 404),
            ("/user/logout", "GET", 405),
            ("/boom", "GET", 500),
            ("/static/style.css", "GET", 200),
            ("/static/nothing.css", "GET", 404),
            ("/healthz", "GET", 200),
            ("/api/session", "GET", 200),
        ):
            response = self.visit(path, method)
            assert response.code == code, path
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "same-origin"
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert "Server" not in response.headers

    def test_nobody_can_claim_https_from_outside(self) -> None:
        cookie = self.visit(
            "/user/login", "POST", {"username": "Ada"}, **{"X-Forwarded-Proto": "https"}
        ).headers["Set-Cookie"]
        assert cookie.startswith("session=")

    def test_secrets_rotate_without_logging_anybody_out(self) -> None:
        self._app.settings["cookie_secret"] = {1: "old" * 20}
        self.log_in()
        old = self.cookie
        self._app.settings["cookie_secret"] = {1: "old" * 20, 2: "new" * 20}
        response = self.visit("/")
        assert "Hello Ada" in response.body.decode()
        assert response.headers["Set-Cookie"].startswith("session=2|1:2|")
        del self._app.settings["cookie_secret"][1]
        assert "Hello Ada" in self.page()
        self.cookie = old
        assert "Hello Ada" not in self.page()


class TestNamesOnPages(Visits):
    def test_a_name_from_right_to_left_turns_nothing_around_it(self) -> None:
        self.log_in("\u05d0\u05d3\u05d4 1")
        assert "<h1>Hello \u2068\u05d0\u05d3\u05d4 1\u2069</h1>" in self.page()
        assert "Where \u2068\u05d0\u05d3\u05d4 1\u2069 is signed in." in self.page("/user/sessions")

    def test_a_page_that_is_not_there_has_the_way_home_and_to_the_account(self) -> None:
        page = self.visit("/nowhere").body.decode()
        for path in ("/", "/user/sessions"):
            assert f'href="{path}"' in page

    def test_a_name_that_cannot_be_marks_the_name(self) -> None:
        page = self.log_in("").body.decode()
        assert 'aria-invalid="true"' in page
        assert 'id="username-error"' in page
