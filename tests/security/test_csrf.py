"""Requests that other sites make a browser send."""

from typing import Any

from visiting import Visits

UNSAFE = [
    ("POST", "/user/login", "username=Eve"),
    ("POST", "/user/logout", ""),
    ("PUT", "/api/session/x", "1"),
    ("DELETE", "/api/session/x", None),
    ("POST", "/api/session/n/increment", ""),
    ("POST", "/", ""),
    ("POST", "/nothing", ""),
]
ELSEWHERE = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://[bad"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]
CONTENT_TYPES = [
    "text/plain",
    "application/json",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
    "",
]
LEADING_AWAY = [
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/%09/evil.example",
    "/\r\nSet-Cookie: x=1",
    "https:evil.example",
    "https:///evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "http://host@evil.example",
    "//evil.example%2f..",
    " /",
    "\u2028/",
    "/" + "a" * 3_000,
    "",
]


class TestCrossSite(Visits):
    def setUp(self) -> None:
        super().setUp()
        self.log_in()
        self.visit("/api/session/x", "PUT", body="7")
        self.before = self.data()
        self.store.calls.clear()

    def assert_nothing_changed(self, why: Any) -> None:
        assert "save" not in self.store.calls, why
        assert "delete" not in self.store.calls, why

    def test_no_unsafe_route_obeys_another_site(self) -> None:
        for method, path, body in UNSAFE:
            for headers in ELSEWHERE:
                answer = self.visit(path, method, body=body, **headers)
                assert answer.code in {403, 404, 405}, (path, headers)
                assert answer.code == 403 or path in {"/nothing", "/"}, (path, headers)
                assert "Set-Cookie" not in answer.headers
                self.assert_nothing_changed((path, headers))
        assert self.data() == self.before

    def test_no_type_of_content_passes_the_check(self) -> None:
        for kind in CONTENT_TYPES:
            headers = {"Content-Type": kind, "Origin": "https://evil.example"}
            answer = self.visit("/user/login", "POST", body="username=Eve", **headers)
            assert answer.code in {400, 403}, kind
            self.assert_nothing_changed(kind)

    def test_a_safe_method_changes_nothing(self) -> None:
        for method in ("GET", "HEAD", "OPTIONS"):
            for path in ("/user/logout", "/api/session/x", "/api/session/n/increment"):
                assert self.visit(path, method).code == 405, (method, path)
                self.assert_nothing_changed((method, path))
        assert self.data() == self.before

    def test_nobody_is_logged_in_by_an_address(self) -> None:
        self.cookie = None
        for path in ("/user/login?username=Eve", "/?username=Eve", "/?user=Eve"):
            answer = self.visit(path)
            assert "Set-Cookie" not in answer.headers
            assert "Hello Eve" not in answer.body.decode()

    def test_a_refusal_is_told(self) -> None:
        self.visit("/user/logout", "POST", Origin="https://evil.example")
        assert "RequestForbidden reason='origin'" in self.caplog.text

    def test_a_cookie_that_was_planted_is_worthless_after_the_login(self) -> None:
        self.cookie = None
        self.visit("/api/session/planted", "PUT", body="1")
        planted = self.cookie
        self.log_in("Victim")
        assert self.cookie != planted
        assert b"Victim" not in self.visit("/", Cookie=planted or "").body

    def test_next_leads_to_paths_of_this_server_only(self) -> None:
        for target in LEADING_AWAY:
            answer = self.log_in(next=target)
            assert (answer.code, answer.headers["Location"]) == (303, "/"), target
        assert self.log_in(next="/api/session?x=1").headers["Location"] == "/api/session?x=1"
