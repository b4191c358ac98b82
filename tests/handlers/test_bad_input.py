"""What the pages answer to what no browser of a friend would send."""

import logging
from collections.abc import Iterable
from typing import Any

from tornado.web import create_signed_value
from visiting import SECRET, Visits

from hello_tornado.handlers.base import SECURITY_HEADERS
from hello_tornado.sessions import Store, open_store

ROUTES = (
    ("/", "GET"),
    ("/", "HEAD"),
    ("/user/login", "GET"),
    ("/user/logout", "POST"),
    ("/api/session", "GET"),
)


class Strangers:
    """Whose cookie is worth nothing; holds over every store."""

    def assert_anonymous(self: Any, cookie: str) -> None:
        for path, method in ROUTES:
            response = self.visit(path, method, Cookie=cookie)
            assert response.code in {200, 303}, (path, response.code)
            assert b"Ada" not in response.body
            assert "Set-Cookie" not in response.headers

    def test_a_stranger_gets_no_row_on_any_route(self: Any) -> None:
        self.assert_anonymous("other=1")
        assert self.store.calls == []

    def test_each_change_to_a_cookie_makes_it_worthless(self: Any) -> None:
        self.log_in()
        cookie, self.cookie = self.cookie, None
        self.store.calls.clear()
        name, _, value = cookie.partition("=")
        for changed in _changed(value):
            self.assert_anonymous(f"{name}={changed}")
        for foreign in (f"Session={value}", f"__Host-session={value}", f"xsession={value}"):
            self.assert_anonymous(foreign)
        assert self.store.calls == []
        assert not [record for record in self.caplog.records if record.levelno >= logging.ERROR]
        assert "Hello Ada" in self.visit("/", Cookie=cookie).body.decode()

    def test_an_id_that_we_signed_but_nobody_has_starts_no_session(self: Any) -> None:
        for session_id in ("x" * 43, "", "x", "\u00e9", "x" * 300):
            signed = create_signed_value(
                SECRET, "session", session_id, version=2, clock=lambda: self.clock.now / 1e6
            )
            self.assert_anonymous(f"session={signed.decode()}")
        assert "save" not in self.store.calls

    def test_a_cookie_from_before_a_logout_or_a_login_is_worthless_everywhere(self: Any) -> None:
        self.visit("/api/session/x", "PUT", body="1")
        before_login = self.cookie
        self.log_in()
        before_logout = self.cookie
        self.visit("/user/logout", "POST")
        for cookie in (before_login, before_logout):
            self.assert_anonymous(cookie)
        self.clock.advance(minutes=1)  # until then it may belong to a request that was under way
        for path, method, body in (("x", "PUT", b"1"), ("n/increment", "POST", b"")):
            self.cookie = None
            self.visit(f"/api/session/{path}", method, body=body, Cookie=before_logout)
            assert self.cookie not in {None, before_logout}, "a session of its own"
            assert self.rows("ada") == 0


def _changed(value: str) -> Iterable[str]:
    yield from (value[:-1], value[1:], value + "0", value + value, f'"{value}', value.upper())
    for place in range(0, len(value), 9):
        yield value[:place] + ("0" if value[place] != "0" else "1") + value[place + 1 :]


class TestStrangersOnMemory(Strangers, Visits):
    pass


class TestStrangersOnSqlite(Strangers, Visits):
    def make_store(self) -> Store:
        return open_store(f"sqlite:///{self.directory}/sessions.db")


class TestBadInput(Visits):
    def test_a_form_that_cannot_be_read_is_a_400_in_the_same_look(self) -> None:
        for path, method, body, kind in (
            ("/user/login?next=%ff", "GET", None, ""),
            ("/user/login", "POST", b"username=Ada&next=%ff", "application/x-www-form-urlencoded"),
            ("/user/login", "POST", b"username=%c0%80", "application/x-www-form-urlencoded"),
            ("/user/login", "POST", b"junk", "multipart/form-data; boundary=x"),
            ("/user/login", "POST", b"junk", "multipart/form-data"),
            ("/user/login", "POST", b'{"username": "Ada"}', "application/json"),
        ):
            headers = {"Content-Type": kind} if kind else {}
            response = self.visit(path, method, body=body, **headers)
            assert response.code == 400, (path, body)
            assert "/static/style.css" in response.body.decode()
            assert "Set-Cookie" not in response.headers
        assert self.store.calls == []

    def test_control_characters_never_reach_a_name(self) -> None:
        for given in ("a\nb", "a\r\nb", "a\x00b", "a\x1fb", "a\x85b", "a\u2028b"):
            response = self.log_in(given)
            if response.code == 303:
                assert self.data() == {"username": "a b"}, ascii(given)
            else:
                assert response.code == 400, ascii(given)
        assert self.log_in("\x00").code == 400

    def test_a_name_is_counted_in_its_canonical_form(self) -> None:
        assert self.log_in("e\u0301" * 64).code == 303
        assert self.data() == {"username": "\u00e9" * 64}
        assert self.log_in("\u00e9" * 65).code == 400

    def test_a_refused_name_stands_escaped_in_the_form_beside_the_good_next(self) -> None:
        response = self.log_in('"><script>\u202e', next="/api/session")
        body = response.body.decode()
        assert response.code == 400
        assert "<script>" not in body
        assert 'name="next" value="/api/session"' in body

    def test_bytes_that_no_path_has_are_no_bug_of_ours(self) -> None:
        for path in ("/%00", "/%ff", "/%0a", "/static/%ff", "/static/%0a", "/static/" + "x" * 300):
            assert self.visit(path).code in {400, 403, 404}, path

    def test_a_nul_in_the_name_of_a_file_is_no_bug_of_ours(self) -> None:
        assert self.visit("/static/%00").code in {400, 403, 404}
        assert self.visit("/static/style.css%00").code in {400, 403, 404}

    def test_nothing_outside_of_the_static_files_is_served(self) -> None:
        for path in ("/static/../home.html", "/static/..%2fhome.html", "/static/%2e%2e/base.html"):
            response = self.visit(path)
            assert response.code in {403, 404}, path
            assert b"extends" not in response.body

    def test_a_file_that_is_not_there_is_a_404_in_the_same_look(self) -> None:
        response = self.visit("/static/nothing.css")
        assert response.code == 404
        assert "There is nothing at this address." in response.body.decode()


class TestEveryRefusal(Visits):
    def test_it_is_a_page_in_the_same_look_with_the_headers(self) -> None:
        for path, method, code, headers in (
            ("/user/login", "POST", 400, {}),
            ("/user/logout", "POST", 403, {"Origin": "https://evil.example"}),
            ("/user/login", "POST", 403, {"Sec-Fetch-Site": "cross-site"}),
            ("/nowhere", "POST", 404, {}),
            ("/", "POST", 405, {}),
            ("/user/login", "PUT", 405, {}),
        ):
            self._refused(path, method, code, headers)

    def test_a_dead_store_is_refused_in_the_same_look(self) -> None:
        self.store.is_down = True
        response = self.visit("/user/login", "POST", {"username": "Ada"})
        assert (response.code, response.headers["Retry-After"]) == (503, "5")
        assert "Set-Cookie" not in response.headers
        assert "/static/style.css" in response.body.decode()
        assert dict(response.headers).items() >= SECURITY_HEADERS.items()
        for path in ("/user/login", "/api/session", "/nowhere", "/healthz"):
            assert self.visit(path).code == (404 if path == "/nowhere" else 200)
        assert "Traceback" not in self.caplog.text

    def _refused(self, path: str, method: str, code: int, headers: dict[str, str]) -> None:
        response = self.visit(path, method, **headers)
        body = response.body.decode()
        assert response.code == code, path
        assert dict(response.headers).items() >= SECURITY_HEADERS.items()
        assert "Server" not in response.headers
        assert "/static/style.css" in body
        assert 'class="site-header"' in body
        assert self.store.calls == []

    def test_head_is_get_without_the_body(self) -> None:
        for path in ("/", "/user/login", "/nowhere", "/static/style.css"):
            get, head = self.visit(path), self.visit(path, "HEAD")
            assert (head.code, head.body) == (get.code, b"")
            assert head.headers["Content-Length"] == get.headers["Content-Length"]
        self.log_in()
        assert "Set-Cookie" not in self.visit("/", "HEAD").headers
