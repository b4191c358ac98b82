"""What every answer carries."""

import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote_plus

from tornado.web import url
from visiting import Visits

from hello_tornado.config.settings import HstsSettings, Settings
from hello_tornado.handlers.base import BaseHandler

EVERYWHERE = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class Broken(BaseHandler):
    def get(self) -> None:
        raise RuntimeError


class Leaving(BaseHandler):
    def get(self) -> None:
        self.redirect(self.get_query_argument("to", strip=False))


class TestHeaders(Visits):
    hsts: str | None = None

    def setUp(self) -> None:
        super().setUp()
        self._app.add_handlers(".*", [url("/broken", Broken), url("/leaving", Leaving)])

    def answers(self, **headers: str) -> dict[str, Any]:
        """One answer of each kind."""
        static = self.visit("/static/style.css", **headers)
        return {
            "page": self.visit("/", **headers),
            "form": self.visit("/user/login", **headers),
            "json": self.visit("/api/session", **headers),
            "health": self.visit("/healthz", **headers),
            "static": static,
            "304": self.visit(
                "/static/style.css", **{"If-None-Match": static.headers["Etag"]}, **headers
            ),
            "303": self.visit("/user/login", "POST", body="username=Ada", **headers),
            "400": self.visit("/user/login", "POST", body="username=", **headers),
            "403": self.visit("/user/logout", "POST", Origin="https://evil.example", **headers),
            "404": self.visit("/nothing", **headers),
            "404 static": self.visit("/static/nothing", **headers),
            "405": self.visit("/", "PUT", body="", **headers),
            "500": self.visit("/broken", **headers),
        }

    def test_every_answer_is_guarded(self) -> None:
        for kind, answer in self.answers().items():
            assert str(answer.code) in kind or not kind[:1].isdigit(), (kind, answer.code)
            for name, value in EVERYWHERE.items():
                assert answer.headers[name] == value, kind
            assert answer.headers["Content-Security-Policy"] == CSP, kind
            assert "Server" not in answer.headers, kind
            assert "Access-Control-Allow-Origin" not in answer.headers, kind
            assert "Strict-Transport-Security" not in answer.headers, "http cannot say so"

    def test_over_https_browsers_are_told_to_stay_there(self) -> None:
        for kind, answer in self.answers(**{"X-Forwarded-Proto": "https"}).items():
            assert answer.headers.get("Strict-Transport-Security") == self.hsts, kind

    def get_httpserver_options(self) -> dict[str, Any]:
        return {"xheaders": True}

    def test_no_page_has_anything_inline(self) -> None:
        self.log_in()
        for path in ("/", "/user/login", "/user/sessions", "/nothing"):
            body = self.visit(path).body.decode()
            for script in re.findall("<script.*?</script>", body, re.DOTALL):
                assert re.fullmatch(r'<script src="/static/[^"]+" defer></script>', script)
            assert " style=" not in body
            assert re.search(r"<[^>]+\son\w+=", body) is None

    def test_a_page_with_a_session_is_kept_nowhere(self) -> None:
        self.log_in()
        for path in ("/", "/user/login", "/api/session"):
            answer = self.visit(path)
            assert answer.headers["Cache-Control"] == "no-store"
            assert "Cookie" in answer.headers["Vary"]
            assert "Etag" not in answer.headers
            again = self.visit(path, **{"If-None-Match": "*"})
            assert again.code == 200, "and has never stayed the same"

    def test_a_logout_clears_what_the_browser_keeps(self) -> None:
        self.log_in()
        answer = self.visit("/user/logout", "POST")
        assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
        assert "Max-Age=0" in answer.headers["Set-Cookie"]

    def test_the_cookie_is_in_no_body_and_no_address(self) -> None:
        self.log_in()
        value = (self.cookie or "").partition("=")[2]
        for path in ("/", "/api/session", f"/?session={value}", f"/api/session?sid={value}"):
            answer = self.visit(path)
            assert value not in answer.body.decode()
            assert value not in str(answer.headers.get("Location"))
        self.cookie = None
        answer = self.visit(f"/?session={value}", **{"X-Session-Token": value})
        assert "Ada" not in answer.body.decode()

    def test_no_redirect_leaves_this_server(self) -> None:
        for target in ("https://evil.example", "//evil.example", "/\\evil.example", "javascript:x"):
            answer = self.visit(f"/leaving?to={target}")
            assert answer.code == 500, target
            assert "Location" not in answer.headers
        assert self.visit("/leaving?to=/user/login").headers["Location"] == "/user/login"

    def test_what_is_too_long_to_come_back_to_is_no_error(self) -> None:
        for query in ("a" * 3000, "%25" * 600, "x=%0a", "x=1"):
            answer = self.visit(f"/user/sessions?{query}")
            assert answer.code == 302, query
            came_back = query == "x=1"
            to = quote_plus(f"/user/sessions?{query}" if came_back else "/user/sessions")
            assert answer.headers["Location"] == f"/user/login?next={to}"

    def test_a_page_shows_any_text_that_a_session_may_hold(self) -> None:
        self.log_in()
        for text in ("\0", "\u202e", "\U0001f469\u200d\U0001f4bb", "<b>"):
            assert self.visit("/api/session/username", "PUT", body=json.dumps(text)).code == 200
            for path in ("/", "/user/sessions", "/user/login", "/nothing"):
                assert self.visit(path).code in {200, 404}, (path, ascii(text))


class TestHsts(TestHeaders):
    settings = Settings(hsts=HstsSettings(max_age=timedelta(days=365), include_subdomains=True))
    hsts = "max-age=31536000; includeSubDomains"


class TestHstsWithPreload(TestHeaders):
    settings = Settings(
        hsts=HstsSettings(max_age=timedelta(days=730), include_subdomains=True, preload=True)
    )
    hsts = "max-age=63072000; includeSubDomains; preload"
