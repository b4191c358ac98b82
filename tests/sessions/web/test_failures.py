"""A handler that fails stores nothing; a store that fails is a 503, once, and no cookie."""

import socket

import pytest
from fakes import FakeStore
from styles import Browser, Counting, Routes
from tornado.iostream import IOStream

pytestmark = [pytest.mark.usefixtures("instrumented"), pytest.mark.gen_test]


class Broken(Counting):
    def get(self) -> None:
        self.count()
        raise ZeroDivisionError


class Public(Counting):
    session_required = False

    async def get(self) -> None:
        if self.get_argument("reload", None):
            await self.reload_session()
        if self.get_argument("write", None):
            self.session.increment("n")
        self.write(f"hello {self.current_user or 'stranger'}")


class Unstorable(Counting):
    def get(self) -> None:
        self.session["cart"] = {}
        self.session["cart"]["thing"] = object()
        self.write("never seen")


ROUTES: Routes = {
    "/broken": Broken,
    "/public": Public,
    "/unstorable": Unstorable,
}


async def test_an_unhandled_exception_discards_the_changes(
    browser: Browser, store: FakeStore
) -> None:
    response = await browser.get("/broken")
    assert response.code == 500
    assert store.calls == []
    assert "Set-Cookie" not in response.headers
    await browser.get("/write")
    await browser.get("/broken")
    assert await browser.data() == {"n": 1}


async def test_a_nested_value_that_cannot_be_stored_is_a_500_that_names_it(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await browser.get("/unstorable")).code == 500
    assert "cart.thing: a value of type object cannot be stored in a session" in caplog.text


@pytest.mark.parametrize("path", ["/write", "/redirect", "/await-flush", "/await-finish", "/login"])
async def test_a_failed_save_is_a_503_without_a_cookie(
    browser: Browser, store: FakeStore, path: str
) -> None:
    store.is_down = True
    response = await browser.get(path)
    assert response.code == 503
    assert response.body == b"error 503"
    assert response.headers["Retry-After"] == "5"
    assert "Set-Cookie" not in response.headers
    assert "Location" not in response.headers


@pytest.mark.usefixtures("http_server")
async def test_a_failed_save_is_answered_once_and_the_connection_goes_on(
    store: FakeStore, http_port: int
) -> None:
    stream = IOStream(socket.socket())
    await stream.connect(("127.0.0.1", http_port))
    for path in ("/await-finish", "/await-render", "/write", "/coroutine"):
        store.is_down = True
        await stream.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert (await stream.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
        assert await stream.read_bytes(9) == b"error 503"
        store.is_down = False
        await stream.write(b"GET /untouched HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await stream.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await stream.read_bytes(17) == b"no session needed"
    stream.close()


async def test_a_failed_load_is_a_503_and_the_browser_keeps_its_cookie(
    browser: Browser, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    await browser.get("/login")
    store.is_down = True
    for path in ("/private", "/read", "/logout"):
        response = await browser.get(path)
        assert response.code == 503
        assert "Set-Cookie" not in response.headers
    assert "Traceback" not in caplog.text
    store.is_down = False
    assert (await browser.get("/private")).body == b"private to ada"


async def test_a_page_that_can_do_without_the_store_goes_on_and_writes_nothing(
    browser: Browser, store: FakeStore
) -> None:
    await browser.get("/login")
    assert (await browser.get("/public")).body == b"hello ada"
    store.is_down = True
    response = await browser.get("/public")
    assert (response.code, response.body) == (200, b"hello stranger")
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers
    for path in ("/public?write=1", "/public?reload=1&write=1"):
        response = await browser.get(path)
        assert (response.code, response.headers["Retry-After"]) == (503, "5")
        assert "Set-Cookie" not in response.headers
    store.is_down = False
    assert (await browser.get("/public")).body == b"hello ada"
    response = await browser.get("/public?write=1")
    assert (response.code, await browser.data()) == (200, {"n": 1})
