"""Every style of handler that Tornado allows: the response leaves only after the session is saved.

These are the canaries for `_execute` and `_finished`, the two private names that the binding uses.
They run twice, the second time under OpenTelemetry's instrumentation of Tornado.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest
from opentelemetry.instrumentation.tornado import TornadoInstrumentor
from tornado import gen
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.iostream import IOStream
from tornado.web import Application, Finish, HTTPError, RequestHandler, authenticated
from tornado.websocket import websocket_connect

from hello_tornado.sessions import SessionManager, SessionMixin, WebSocketSessionMixin
from hello_tornado.sessions.errors import (
    ReadOnly,
    ResponseStarted,
    SessionNotLoaded,
    StoreUnavailable,
)
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.lifetimes import system_clock
from hello_tornado.sessions.records.record import Outcome, SessionRecord, Swap
from hello_tornado.sessions.stores.memory import MemoryStore

SECRET = "a secret of the tests, long enough for anyone"


async def some_turns() -> None:
    """Let the event loop run whatever does not wait for us."""
    for _ in range(10):
        await asyncio.sleep(0)


class SlowStore(MemoryStore):
    """A store that lets others run during each save, and can be told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.saves_done = 0
        self.save_begun = asyncio.Event()
        self.save_done = asyncio.Event()
        self.is_down = False

    def _reached(self, verb: str) -> None:
        self.calls.append(verb)
        if self.is_down:
            raise StoreUnavailable("the store is down")

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        self._reached("load")
        return await super().load(keys)

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        self._reached("save")
        self.save_begun.set()
        self.save_done.clear()
        await some_turns()
        outcomes = await super().save(swaps)
        self.saves_done += 1
        self.save_done.set()
        return outcomes

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        self._reached("delete")
        await some_turns()
        return await super().delete(keys)


class Counting(SessionMixin, RequestHandler):
    """Counts, and answers in the style that a subclass shows."""

    def count(self) -> int:
        return self.session.increment("n")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.finish(f"error {status_code}")


class Write(Counting):
    def get(self) -> None:
        self.write(f"n={self.count()}")

    def head(self) -> None:
        self.get()


class FinishDict(Counting):
    def get(self) -> None:
        self.finish({"n": self.count()})


class AwaitFinish(Counting):
    async def get(self) -> None:
        self.count()
        await self.finish("done")
        self.application.settings["after_finish"].append(self.application.settings["store"].calls)


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


class AwaitRender(Counting):
    async def get(self) -> None:
        await self.render("page.html", n=self.count())


class Redirect(Counting):
    def get(self) -> None:
        self.count()
        self.redirect("/elsewhere")


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


class Broken(Counting):
    def get(self) -> None:
        self.count()
        raise ZeroDivisionError


class AwaitFlush(Counting):
    async def get(self) -> None:
        self.count()
        self.write("first ")
        await self.flush()
        self.write("second")


class UnawaitedFlush(Counting):
    def get(self) -> None:
        self.count()
        self.write("first ")
        self.flush()
        self.write("second")


class Streaming(Counting):
    async def get(self) -> None:
        self.count()
        for part in range(3):
            self.write(f"{part}")
            await self.flush()
        self.session["streamed"] = True


class Coroutine(Counting):
    @gen.coroutine
    def get(self) -> Any:
        self.count()
        yield gen.moment
        yield self.finish("old style")


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


class Saving(Counting):
    async def get(self) -> None:
        self.count()
        await self.save_session()
        self.session["after"] = True
        self.write(str(self.application.settings["store"].saves_done))


class NotModified(Counting):
    def get(self) -> None:
        self.count()
        self.write("always the same")


class Reading(Counting):
    def get(self) -> None:
        self.finish({"data": dict(self.session), "user": self.current_user})


class Untouched(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.write("no session needed")


class Waiting(Counting):
    async def get(self) -> None:
        self.application.settings["is_waiting"].set()
        await self.application.settings["may_go_on"].wait()
        self.write("at last")


class Login(Counting):
    def get(self) -> None:
        self.session.login("ada")
        self.redirect("/read")


class Logout(Counting):
    def get(self) -> None:
        self.session.destroy()
        self.redirect("/read")


class Private(Counting):
    @authenticated
    def get(self) -> None:
        self.write(f"private to {self.current_user}")


class Public(Counting):
    session_required = False

    async def get(self) -> None:
        if self.get_argument("reload", None):
            await self.reload_session()
        if self.get_argument("write", None):
            self.session.increment("n")
        self.write(f"hello {self.current_user or 'stranger'}")


class Dropping(Counting):
    def get(self) -> None:
        self.count()
        del self.session


class SettingNone(Counting):
    def get(self) -> None:
        self.count()
        self.session = None


class TooEarly(SessionMixin, RequestHandler):
    def initialize(self) -> None:
        try:
            self.session["n"] = 1
        except SessionNotLoaded as error:
            self._told = str(error)

    def get(self) -> None:
        self.write(self._told)


class TooLate(Counting):
    async def get(self) -> None:
        self.write("first")
        await self.flush()
        try:
            self.session["n"] = 1
        except ResponseStarted as error:
            self.application.settings["errors"].append(str(error))


class Unstorable(Counting):
    def get(self) -> None:
        self.session["cart"] = {}
        self.session["cart"]["thing"] = object()
        self.write("never seen")


class Socket(WebSocketSessionMixin):
    login_required = False

    def open(self) -> None:
        self.write_message(json.dumps(dict(self.session)))

    async def on_message(self, message: str | bytes) -> None:
        try:
            self.session["lost"] = True
        except ReadOnly:
            async with self.session_transaction() as session:
                answer = "ended" if session.ended else session.increment("messages")
            self.write_message(str(answer))


class CountingSocket(Socket):
    async def prepare(self) -> None:
        await super().prepare()
        self.session.increment("n")


ROUTES: dict[str, type[RequestHandler]] = {
    "/write": Write,
    "/finish-dict": FinishDict,
    "/await-finish": AwaitFinish,
    "/finish-twice": FinishTwice,
    "/write-after-finish": WriteAfterFinish,
    "/render": Render,
    "/await-render": AwaitRender,
    "/redirect": Redirect,
    "/redirect-in-prepare": RedirectInPrepare,
    "/raise-finish": RaiseFinish,
    "/forbidden": Forbidden,
    "/broken": Broken,
    "/await-flush": AwaitFlush,
    "/unawaited-flush": UnawaitedFlush,
    "/streaming": Streaming,
    "/coroutine": Coroutine,
    "/finish-later": FinishLater,
    "/cancelled": Cancelled,
    "/saving": Saving,
    "/not-modified": NotModified,
    "/read": Reading,
    "/untouched": Untouched,
    "/waiting": Waiting,
    "/login": Login,
    "/logout": Logout,
    "/private": Private,
    "/public": Public,
    "/dropping": Dropping,
    "/setting-none": SettingNone,
    "/too-early": TooEarly,
    "/too-late": TooLate,
    "/unstorable": Unstorable,
    "/socket": Socket,
    "/counting-socket": CountingSocket,
}


@pytest.fixture(params=["plain", "opentelemetry"], autouse=True)
def instrumented(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    if request.param == "plain":
        yield
        return
    instrumentor = TornadoInstrumentor()
    instrumentor.instrument()
    yield
    instrumentor.uninstrument()
    assert "Failed to detach context" not in caplog.text


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
def app(store: SlowStore, tmp_path: Any) -> Application:
    (tmp_path / "page.html").write_text("n={{ n }} user={{ current_user }}")
    return Application(
        list(ROUTES.items()),
        cookie_secret=SECRET,
        session_manager=SessionManager(store),
        store=store,
        template_path=str(tmp_path),
        login_url="/login",
        after_finish=[],
        errors=[],
        is_waiting=asyncio.Event(),
        may_go_on=asyncio.Event(),
    )


class Browser:
    """A client that keeps its cookie, and follows nothing."""

    def __init__(self, client: AsyncHTTPClient, base_url: str) -> None:
        self._client = client
        self.base_url = base_url
        self.cookie: str | None = None

    async def get(self, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
        if self.cookie is not None:
            headers["Cookie"] = self.cookie
        response = await self._client.fetch(
            HTTPRequest(self.base_url + path, method, headers, follow_redirects=False),
            raise_error=False,
        )
        for cookie in response.headers.get_list("Set-Cookie"):
            self.cookie = None if "Max-Age=0" in cookie else cookie.partition(";")[0]
        return response

    async def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((await self.get("/read")).body)["data"]
        return data


@pytest.fixture
def browser(http_client: AsyncHTTPClient, base_url: str) -> Browser:
    return Browser(http_client, base_url)


SAVING_STYLES = [
    ("/write", 200, b"n=1"),
    ("/finish-dict", 200, b'{"n": 1}'),
    ("/await-finish", 200, b"done"),
    ("/finish-twice", 200, b"once"),
    ("/render", 200, b"n=1 user=None"),
    ("/await-render", 200, b"n=1 user=None"),
    ("/redirect", 302, b""),
    ("/redirect-in-prepare", 302, b""),
    ("/raise-finish", 200, b"finished"),
    ("/forbidden", 403, b"error 403"),
    ("/await-flush", 200, b"first second"),
    ("/unawaited-flush", 200, b"first second"),
    ("/coroutine", 200, b"old style"),
    ("/finish-later", 200, b"later"),
]


@pytest.mark.parametrize(("path", "status", "body"), SAVING_STYLES)
@pytest.mark.gen_test
async def test_the_response_leaves_after_the_save(
    browser: Browser, store: SlowStore, path: str, status: int, body: bytes
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


@pytest.mark.gen_test
async def test_what_follows_an_awaited_finish_runs_after_the_save(
    browser: Browser, app: Application
) -> None:
    await browser.get("/await-finish")
    await browser.data()
    assert app.settings["after_finish"][0][0] == "save"


@pytest.mark.gen_test
async def test_finish_twice_is_an_error_as_ever(browser: Browser, app: Application) -> None:
    await browser.get("/finish-twice")
    assert app.settings["errors"] == ["finish() called twice"]


@pytest.mark.gen_test
async def test_write_after_finish_is_an_error_as_ever(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await browser.get("/write-after-finish")).body == b"complete"
    assert "Cannot write() after finish()" in caplog.text
    assert await browser.data() == {"n": 1}


@pytest.mark.gen_test
async def test_a_stream_saves_before_its_first_byte_and_what_came_later_at_the_end(
    browser: Browser,
) -> None:
    response = await browser.get("/streaming")
    assert response.body == b"012"
    assert "Set-Cookie" in response.headers
    assert await browser.data() == {"n": 1, "streamed": True}


@pytest.mark.gen_test
async def test_an_explicit_save_does_not_cost_a_second_one_at_the_end(
    browser: Browser, store: SlowStore
) -> None:
    assert (await browser.get("/saving")).body == b"1"
    assert await browser.data() == {"n": 1, "after": True}
    store.calls.clear()
    await browser.get("/saving")
    assert store.calls == ["load", "save"]


@pytest.mark.gen_test
async def test_an_unhandled_exception_discards_the_changes(
    browser: Browser, store: SlowStore
) -> None:
    response = await browser.get("/broken")
    assert response.code == 500
    assert store.calls == []
    assert "Set-Cookie" not in response.headers
    await browser.get("/write")
    await browser.get("/broken")
    assert await browser.data() == {"n": 1}


@pytest.mark.gen_test
async def test_head_is_saved_and_has_no_body(browser: Browser) -> None:
    response = await browser.get("/write", "HEAD")
    assert (response.code, response.body) == (200, b"")
    assert await browser.data() == {"n": 1}


@pytest.mark.gen_test
async def test_not_modified_is_saved_too(browser: Browser) -> None:
    first = await browser.get("/not-modified")
    second = await browser.get("/not-modified", **{"If-None-Match": first.headers["Etag"]})
    assert second.code == 304
    assert await browser.data() == {"n": 2}


@pytest.mark.gen_test
async def test_reading_costs_one_load_and_no_cookie(browser: Browser, store: SlowStore) -> None:
    await browser.get("/write")
    store.calls.clear()
    response = await browser.get("/read")
    assert store.calls == ["load"]
    assert "Set-Cookie" not in response.headers
    assert response.headers["Vary"] == "Cookie"


@pytest.mark.gen_test
async def test_a_stranger_costs_nothing(browser: Browser, store: SlowStore) -> None:
    response = await browser.get("/read")
    assert json.loads(response.body) == {"data": {}, "user": None}
    assert "Vary" not in (await browser.get("/untouched")).headers
    assert "Set-Cookie" not in response.headers
    assert store.calls == []


@pytest.mark.gen_test
async def test_login_renews_the_id_and_the_old_one_is_dead(browser: Browser) -> None:
    await browser.get("/write")
    before = browser.cookie
    assert (await browser.get("/login")).code == 302
    assert browser.cookie not in (None, before)
    assert (await browser.get("/private")).body == b"private to ada"
    after, browser.cookie = browser.cookie, before
    assert await browser.data() == {}
    browser.cookie = after
    assert await browser.data() == {"n": 1}


@pytest.mark.gen_test
async def test_a_cookie_in_use_is_signed_anew_before_it_grows_old(
    browser: Browser, app: Application, clock: Any, store: SlowStore
) -> None:
    app.settings["session_manager"] = SessionManager(store, clock=clock)
    await browser.get("/write")
    clock.advance(seconds=59)
    assert "Set-Cookie" not in (await browser.get("/read")).headers
    before = browser.cookie
    clock.advance(seconds=1)
    assert "Max-Age=7200" in (await browser.get("/read")).headers["Set-Cookie"]
    assert browser.cookie != before
    assert "Set-Cookie" not in (await browser.get("/read")).headers
    assert await browser.data() == {"n": 1}


@pytest.mark.gen_test
async def test_a_cookie_signed_with_an_old_secret_is_signed_anew(
    browser: Browser, app: Application
) -> None:
    app.settings["cookie_secret"] = {1: SECRET}
    await browser.get("/write")
    app.settings["cookie_secret"] = {1: SECRET, 2: "another secret, just as long as the first"}
    assert (await browser.get("/read")).headers["Set-Cookie"].startswith("session=2|1:2|")
    assert "Set-Cookie" not in (await browser.get("/read")).headers
    del app.settings["cookie_secret"][1]
    assert await browser.data() == {"n": 1}


@pytest.mark.gen_test
async def test_a_cookie_signed_anew_never_overwrites_that_of_a_login_beside_it(
    browser: Browser, app: Application
) -> None:
    app.settings["session_manager"].rolling = True
    assert "Set-Cookie" in (await browser.get("/write")).headers
    assert "Set-Cookie" in (await browser.get("/untouched")).headers
    old = browser.cookie
    slow = asyncio.ensure_future(browser.get("/waiting"))
    await app.settings["is_waiting"].wait()
    assert "Set-Cookie" in (await browser.get("/login")).headers
    app.settings["may_go_on"].set()
    assert "Set-Cookie" not in (await slow).headers
    assert browser.cookie != old
    assert (await browser.get("/private")).body == b"private to ada"


@pytest.mark.gen_test
async def test_authenticated_sends_strangers_to_the_login(browser: Browser) -> None:
    response = await browser.get("/private")
    assert response.code == 302
    assert response.headers["Location"] == "/login?next=%2Fprivate"


@pytest.mark.gen_test
async def test_logout_clears_the_cookie_and_the_old_one_is_worthless(browser: Browser) -> None:
    await browser.get("/login")
    cookie = browser.cookie
    response = await browser.get("/logout")
    assert response.headers["Set-Cookie"].startswith(
        "session=; Max-Age=0; Expires=Thu, 01 Jan 1970"
    )
    browser.cookie = cookie
    assert (await browser.get("/private")).code == 302


@pytest.mark.parametrize("path", ["/dropping", "/setting-none"])
@pytest.mark.gen_test
async def test_unset_keep_drops_the_changes_and_keeps_the_session(
    browser: Browser, store: SlowStore, path: str
) -> None:
    await browser.get("/write")
    store.calls.clear()
    response = await browser.get(path)
    assert "Set-Cookie" not in response.headers
    assert store.calls == ["load"]
    assert await browser.data() == {"n": 1}


@pytest.mark.gen_test
async def test_unset_destroy_ends_the_session(browser: Browser, app: Application) -> None:
    app.settings["session_manager"].unset = "destroy"
    await browser.get("/write")
    cookie = browser.cookie
    assert "Max-Age=0" in (await browser.get("/dropping")).headers["Set-Cookie"]
    browser.cookie = cookie
    assert await browser.data() == {}


@pytest.mark.gen_test
async def test_a_session_is_not_there_before_it_is_loaded(browser: Browser) -> None:
    response = await browser.get("/too-early")
    assert response.body.decode() == (
        "TooEarly.session is loaded after initialize(), before prepare()"
    )


@pytest.mark.gen_test
async def test_a_new_session_after_the_headers_is_refused_where_it_is_written(
    browser: Browser, app: Application, store: SlowStore
) -> None:
    await browser.get("/too-late")
    assert "before the first flush()" in app.settings["errors"][0]
    assert store.calls == []


@pytest.mark.gen_test
async def test_a_nested_value_that_cannot_be_stored_is_a_500_that_names_it(
    browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await browser.get("/unstorable")).code == 500
    assert "cart.thing: a value of type object cannot be stored in a session" in caplog.text


@pytest.mark.parametrize("path", ["/write", "/redirect", "/await-flush", "/await-finish", "/login"])
@pytest.mark.gen_test
async def test_a_failed_save_is_a_503_without_a_cookie(
    browser: Browser, store: SlowStore, path: str
) -> None:
    store.is_down = True
    response = await browser.get(path)
    assert response.code == 503
    assert response.body == b"error 503"
    assert response.headers["Retry-After"] == "5"
    assert "Set-Cookie" not in response.headers
    assert "Location" not in response.headers


@pytest.mark.usefixtures("http_server")
@pytest.mark.gen_test
async def test_a_failed_save_is_answered_once_and_the_connection_goes_on(
    store: SlowStore, http_port: int
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


@pytest.mark.gen_test
async def test_a_handler_that_is_cancelled_after_finish_is_answered(
    browser: Browser,
) -> None:
    response = await browser.get("/cancelled")
    assert (response.code, response.body) == (200, b"complete")
    assert await browser.data() == {"n": 1}


@pytest.mark.gen_test
async def test_a_failed_load_is_a_503_and_the_browser_keeps_its_cookie(
    browser: Browser, store: SlowStore, caplog: pytest.LogCaptureFixture
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


@pytest.mark.gen_test
async def test_a_page_that_can_do_without_the_store_goes_on_and_writes_nothing(
    browser: Browser, store: SlowStore
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


@pytest.mark.gen_test
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


@pytest.mark.gen_test
async def test_a_client_that_is_gone_does_not_undo_its_request(
    browser: Browser, http_port: int, store: SlowStore, caplog: pytest.LogCaptureFixture
) -> None:
    await browser.get("/write")
    stream = IOStream(socket.socket())
    await stream.connect(("127.0.0.1", http_port))
    request = f"GET /write HTTP/1.1\r\nHost: localhost\r\nCookie: {browser.cookie}\r\n\r\n"
    store.save_begun.clear()
    await stream.write(request.encode())
    await store.save_begun.wait()
    stream.close()
    await store.save_done.wait()
    assert await browser.data() == {"n": 2}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.gen_test
async def test_a_cookie_rides_on_the_101_of_a_websocket(browser: Browser, store: SlowStore) -> None:
    url = browser.base_url.replace("http", "ws")
    connection = await websocket_connect(url + "/counting-socket")
    assert store.saves_done == 1
    cookie = connection.headers["Set-Cookie"].partition(";")[0]
    assert await connection.read_message() == '{"n": 1}'
    await connection.write_message("count")
    assert await connection.read_message() == "1"
    connection.close()
    browser.cookie = cookie
    assert await browser.data() == {"n": 1, "messages": 1}


@pytest.mark.gen_test
async def test_a_websocket_reads_the_session_and_writes_message_by_message(
    browser: Browser, store: SlowStore
) -> None:
    await browser.get("/write")
    request = HTTPRequest(
        browser.base_url.replace("http", "ws") + "/socket", headers={"Cookie": browser.cookie or ""}
    )
    connection = await websocket_connect(request)
    assert await connection.read_message() == '{"n": 1}'
    await browser.get("/write")
    await connection.write_message("count")
    assert await connection.read_message() == "1"
    assert await browser.data() == {"n": 2, "messages": 1}
    await browser.get("/logout")
    await connection.write_message("count")
    assert await connection.read_message() is None
    assert (connection.close_code, connection.close_reason) == (4401, "logged_out")
    connection.close()
    assert await store.count(system_clock()) == 0, "a message after the logout begins no session"
