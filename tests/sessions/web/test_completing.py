"""Every way to complete a response that Tornado allows: it leaves only after the save.

These are the canaries for `_execute` and `_finished`, the two private names that the binding uses.
They run twice, the second time under OpenTelemetry's instrumentation of Tornado.
"""

import asyncio
import logging
import socket

import pytest
from fakes import FakeStore
from styles import (
    AwaitFinish,
    AwaitFlush,
    AwaitRender,
    Browser,
    Coroutine,
    Counting,
    Redirect,
    Routes,
    Write,
)
from tornado.iostream import IOStream
from tornado.web import Application, Finish, HTTPError, RequestHandler

pytestmark = [pytest.mark.usefixtures("instrumented"), pytest.mark.gen_test]


class FinishDict(Counting):
    def get(self) -> None:
        self.finish({"n": self.count()})


class FinishTwice(Counting):
    def get(self) -> None:
        self.count()
        self.finish("once")
        try:
            self.finish("twice")
        except RuntimeError as error:
            self.application.settings["errors"].append(str(error))


class WriteAfterFinish(Counting):
    def get(self) -> None:
        self.count()
        self.finish("complete")
        self.write("too late")


class Render(Counting):
    def get(self) -> None:
        self.render("page.html", n=self.count())


class RedirectInPrepare(Counting):
    async def prepare(self) -> None:
        await super().prepare()
        self.count()
        self.redirect("/elsewhere")

    def get(self) -> None:
        raise AssertionError("a redirect in prepare() must stop the handler")


class RaiseFinish(Counting):
    def get(self) -> None:
        self.count()
        raise Finish("finished")


class Forbidden(Counting):
    def get(self) -> None:
        self.count()
        raise HTTPError(403)


class UnawaitedFlush(Counting):
    def get(self) -> None:
        self.count()
        self.write("first ")
        self.flush()
        self.write("second")


class FinishLater(Counting):
    """Completes the response after its method has returned."""

    _auto_finish = False

    def get(self) -> None:
        self._auto_finish = False
        self.count()
        asyncio.get_running_loop().call_later(0.02, self.finish, "later")


class Cancelled(Counting):
    async def get(self) -> None:
        self.count()
        self.finish("complete")
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)


class NotModified(Counting):
    def get(self) -> None:
        self.count()
        self.write("always the same")


STYLES: list[tuple[str, type[RequestHandler], int, bytes]] = [
    ("/write", Write, 200, b"n=1"),
    ("/finish-dict", FinishDict, 200, b'{"n": 1}'),
    ("/await-finish", AwaitFinish, 200, b"done"),
    ("/finish-twice", FinishTwice, 200, b"once"),
    ("/render", Render, 200, b"n=1 user=None"),
    ("/await-render", AwaitRender, 200, b"n=1 user=None"),
    ("/redirect", Redirect, 302, b""),
    ("/redirect-in-prepare", RedirectInPrepare, 302, b""),
    ("/raise-finish", RaiseFinish, 200, b"finished"),
    ("/forbidden", Forbidden, 403, b"error 403"),
    ("/await-flush", AwaitFlush, 200, b"first second"),
    ("/unawaited-flush", UnawaitedFlush, 200, b"first second"),
    ("/coroutine", Coroutine, 200, b"old style"),
    ("/finish-later", FinishLater, 200, b"later"),
]
ROUTES: Routes = {path: handler for path, handler, _, _ in STYLES} | {
    "/write-after-finish": WriteAfterFinish,
    "/cancelled": Cancelled,
    "/not-modified": NotModified,
}


@pytest.mark.parametrize(
    ("path", "status", "body"), [(path, *answer) for path, _, *answer in STYLES]
)
async def test_the_response_leaves_after_the_save(
    browser: Browser, store: FakeStore, path: str, status: int, body: bytes
) -> None:
    response = await browser.get(path)
    assert (response.code, response.body) == (status, body)
    assert store.saves_done == 1
    assert len(response.headers.get_list("Set-Cookie")) == 1
    assert response.headers["Cache-Control"] == "no-store"
    assert "Cookie" in response.headers["Vary"]
    again = await browser.get(path)
    assert again.code == status
    assert "Set-Cookie" not in again.headers
    assert await browser.data() == {"n": 2}


async def test_what_follows_an_awaited_finish_runs_after_the_save(
    browser: Browser, app: Application
) -> None:
    await browser.get("/await-finish")
    await browser.data()
    assert app.settings["after_finish"][0][0] == "save"


async def test_finish_twice_is_an_error_as_ever(browser: Browser, app: Application) -> None:
    await browser.get("/finish-twice")
    assert app.settings["errors"] == ["finish() called twice"]


async def test_write_after_finish_is_an_error_as_ever(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await browser.get("/write-after-finish")).body == b"complete"
    assert "Cannot write() after finish()" in caplog.text
    assert await browser.data() == {"n": 1}


async def test_head_is_saved_and_has_no_body(browser: Browser) -> None:
    response = await browser.get("/write", "HEAD")
    assert (response.code, response.body) == (200, b"")
    assert await browser.data() == {"n": 1}


async def test_not_modified_is_saved_too(browser: Browser) -> None:
    first = await browser.get("/not-modified")
    second = await browser.get("/not-modified", **{"If-None-Match": first.headers["Etag"]})
    assert second.code == 304
    assert await browser.data() == {"n": 2}


async def test_a_handler_that_is_cancelled_after_finish_is_answered(
    browser: Browser,
) -> None:
    response = await browser.get("/cancelled")
    assert (response.code, response.body) == (200, b"complete")
    assert await browser.data() == {"n": 1}


async def test_pipelined_requests_are_answered_in_order(browser: Browser, http_port: int) -> None:
    await browser.get("/write")
    stream = IOStream(socket.socket())
    await stream.connect(("127.0.0.1", http_port))
    request = f"GET /write HTTP/1.1\r\nHost: localhost\r\nCookie: {browser.cookie}\r\n\r\n"
    await stream.write((request * 3).encode())
    for n in (2, 3, 4):
        assert (await stream.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
        assert await stream.read_bytes(3) == f"n={n}".encode()
    stream.close()


async def test_a_client_that_is_gone_does_not_undo_its_request(
    browser: Browser, http_port: int, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    await browser.get("/write")
    stream = IOStream(socket.socket())
    await stream.connect(("127.0.0.1", http_port))
    request = f"GET /write HTTP/1.1\r\nHost: localhost\r\nCookie: {browser.cookie}\r\n\r\n"
    store.is_saving.clear()
    await stream.write(request.encode())
    await store.is_saving.wait()
    stream.close()
    await store.has_saved.wait()
    assert await browser.data() == {"n": 2}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
