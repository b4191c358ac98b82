"""Which requests count as https: by the connection itself, or by the word of a known proxy."""

import asyncio
import logging
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from fakes import SECRET
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.testing import AsyncHTTPSTestCase, AsyncHTTPTestCase
from tornado.web import Application, RequestHandler

from hello_tornado.sessions import CookiePolicy, SessionManager, SessionMixin
from hello_tornado.sessions.carriers.proxies import address_of
from hello_tornado.sessions.events import SessionEvent, SessionNotBegun
from hello_tornado.sessions.stores.memory import MemoryStore


class Count(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.write(f"{self.session.increment('n')}")


class Streaming(SessionMixin, RequestHandler):
    async def get(self) -> None:
        self.session.increment("n")
        self.write("one")
        await self.flush()
        self.write(" two")


class Login(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.session.login("ada")


class WithPolicies:
    """One handler for each of several policies."""

    policies: ClassVar[dict[str, CookiePolicy]] = {"usual": CookiePolicy()}
    trusted: ClassVar[tuple[str, ...] | None] = None

    def get_app(self) -> Application:
        self.events: list[SessionEvent] = []
        self.manager = SessionManager(
            MemoryStore(),
            cookie=lambda request: self.policies[request.path.split("/")[1]],
            trusted_proxies=self.trusted,
            hooks=[self.events.append],
        )
        return Application(
            [("/.*/stream", Streaming), ("/.*/login", Login), ("/.*", Count)],
            cookie_secret=SECRET,
            session_manager=self.manager,
        )

    def cookie(self, path: str, forwarded: str | None = None, **headers: str) -> str | None:
        if forwarded is not None:
            headers["X-Forwarded-Proto"] = forwarded
        answer: Any = self.fetch(path, headers=headers)  # type: ignore[attr-defined]
        given: str | None = answer.headers.get("Set-Cookie")
        return given


class OverHttp(WithPolicies, AsyncHTTPTestCase):
    """Behind something that says how requests came."""

    def get_httpserver_options(self) -> dict[str, Any]:
        return {"xheaders": True}

    def is_secure(self, path: str, forwarded: str | None = None) -> bool:
        cookie = self.cookie(path, forwarded)
        assert cookie is not None
        return cookie.startswith("__Host-session=") and "; Secure" in cookie


class TestNobodyIsTrusted(OverHttp):
    trusted = ()

    def test_a_header_is_not_believed(self) -> None:
        assert not self.is_secure("/usual", "https")


class TestAStranger(OverHttp):
    trusted = ("192.0.2.1",)

    def test_a_header_of_somebody_else_is_not_believed(self) -> None:
        assert not self.is_secure("/usual", "https")


class TestTrustedProxies(OverHttp):
    policies: ClassVar = {"usual": CookiePolicy(), "secure": CookiePolicy(secure=True)}
    trusted = ("10.0.0.0/8", "127.0.0.1", "::1")

    def test_the_last_word_of_a_trusted_proxy_is_believed(self) -> None:
        assert self.is_secure("/usual", "https")
        assert self.is_secure("/usual", "http, HTTPS")
        assert not self.is_secure("/usual", "https, http")
        assert not self.is_secure("/usual")

    def test_a_session_of_https_is_not_read_over_http(self) -> None:
        cookie = (self.cookie("/secure", "https") or "").partition(";")[0]
        assert self.fetch("/secure", headers={"Cookie": cookie}).body == b"1"
        headers = {"Cookie": cookie, "X-Forwarded-Proto": "https"}
        assert self.fetch("/secure", headers=headers).body == b"2"


class TestAsTornadoSays(OverHttp):
    policies: ClassVar = {
        "usual": CookiePolicy(),
        "path": CookiePolicy(path="/path"),
        "secure": CookiePolicy(secure=True),
        "prefixed": CookiePolicy(name="__Secure-sid"),
        "elsewhere": CookiePolicy(path="/admin"),
        "foreign": CookiePolicy(domain="example.org"),
    }

    def test_xheaders_are_believed(self) -> None:
        assert self.is_secure("/usual", "https")
        assert not self.is_secure("/usual")

    def test_a_secure_cookie_over_http_leaves_no_row_and_a_warning(self) -> None:
        self.assert_nothing_begins("/secure", "add it to the manager's trusted_proxies")
        self.assert_nothing_begins("/prefixed", "add it to the manager's trusted_proxies")

    def test_a_cookie_for_another_path_leaves_no_row_and_a_warning(self) -> None:
        self.assert_nothing_begins("/elsewhere", 'or set path="/"')

    def test_a_cookie_for_another_domain_leaves_no_row_and_a_warning(self) -> None:
        self.assert_nothing_begins("/foreign", "set domain to the host, a parent domain or None")

    def assert_nothing_begins(self, prefix: str, cure: str) -> None:
        """Also not in a login, and not with a first flush."""
        for path, body in (
            (prefix, b"1"),
            (f"{prefix}/stream", b"one two"),
            (f"{prefix}/login", b""),
        ):
            self.events.clear()
            answer = self.fetch(path)
            assert (answer.code, answer.body) == (200, body)
            assert "Set-Cookie" not in answer.headers
            assert self.io_loop.run_sync(self.manager.store.count) == 0
            (event,) = self.events
            assert isinstance(event, SessionNotBegun)
            assert event.level == logging.WARNING
            assert cure in event.reason

    def test_auto_is_decided_by_each_response(self) -> None:
        """One session, over http and https: Secure is what the response at hand can be."""
        cookie = self.cookie("/path") or ""
        for forwarded in ("https", "http", "https"):
            cookie = self.cookie("/path/login", forwarded, Cookie=cookie.partition(";")[0]) or ""
            assert ("; Secure" in cookie) == (forwarded == "https")
        answer = self.fetch("/path", headers={"Cookie": cookie.partition(";")[0]})
        assert answer.body == b"2", "it was the same session all the time"


class TestOverTls(WithPolicies, AsyncHTTPSTestCase):
    policies: ClassVar = {"usual": CookiePolicy(), "secure": CookiePolicy(secure=True)}
    trusted = ("192.0.2.1",)

    def test_a_connection_that_speaks_tls_needs_no_proxys_word(self) -> None:
        for path in ("/usual", "/secure"):
            assert "; Secure" in (self.cookie(path, "http") or ""), path
        assert self.io_loop.run_sync(self.manager.length) == 2


class TestOverTlsWithoutProxies(TestOverTls):
    trusted = ()


@pytest.mark.gen_test
async def test_a_proxy_may_come_by_a_unix_socket(tmp_path: Any) -> None:

    app = Application(
        [("/", Count)],
        cookie_secret=SECRET,
        session_manager=SessionManager(MemoryStore(), trusted_proxies=["127.0.0.1"]),
    )
    server = HTTPServer(app)
    server.add_socket(bind_unix_socket(str(tmp_path / "socket")))
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
    writer.write(b"GET / HTTP/1.0\r\nX-Forwarded-Proto: https\r\n\r\n")
    answer = await reader.read()
    assert b"Set-Cookie: __Host-session=" in answer
    writer.close()
    await writer.wait_closed()
    server.stop()
    await server.close_all_connections()


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("203.0.113.1, ::ffff:127.0.0.1", "203.0.113.1"),
        ("203.0.113.1:49152", "203.0.113.1"),
        ("203.0.113.2, 203.0.113.1:49152", "203.0.113.1"),
        ("[2001:db8::1]:49152", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[::ffff:203.0.113.1]:1", "203.0.113.1"),
        ("203.0.113.1:", "127.0.0.1"),
        ("203.0.113.1:x", "127.0.0.1"),
        ("[2001:db8::1", "2001:db8::1"),
        ("127.1", "127.0.0.1"),
        ("127.1:80", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("1", "127.0.0.1"),
        ("\xb2", "127.0.0.1"),
        ("fe80::1%eth0", "127.0.0.1"),
        ("203.0.113.1, 127.1", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("a" * 300, "127.0.0.1"),
    ],
)
def test_an_address_has_one_form_and_what_is_none_is_ignored(forwarded: str, address: str) -> None:
    request: Any = SimpleNamespace(
        headers={"X-Forwarded-For": forwarded},
        connection=SimpleNamespace(context=SimpleNamespace(address=("::ffff:127.0.0.1", 1, 0, 0))),
    )
    assert address_of(request, (ip_network("127.0.0.1"),)) == address
