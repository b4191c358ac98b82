"""No response hangs: what cannot be stored or sent is answered, or the connection is closed."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fakes import FakeStore
from sites import Jar, site
from socket_frames import HANDSHAKE
from tornado import gen
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient
from tornado.web import Finish, HTTPError, RequestHandler

from hello_tornado.sessions import SessionMixin, WebSocketSessionMixin
from hello_tornado.sessions.stores.memory import MemoryStore

SECONDS = 5  # within which each response has come to its end


def slow_store() -> FakeStore:
    """One that lets others run during each save."""
    return FakeStore(turns={"save": 1, "touch": 1})


class Counting(SessionMixin, RequestHandler):
    def fill(self) -> None:
        raise NotImplementedError


class NoContent(Counting):
    def fill(self) -> None:
        self.set_status(204)
        self.write("a body that may not be sent")


class NotModified(Counting):
    def fill(self) -> None:
        self.set_status(304)
        self.write("a body that may not be sent")


class BrokenEtag(Counting):
    def fill(self) -> None:
        self.write("fine")

    def compute_etag(self) -> str | None:
        raise ZeroDivisionError


class BrokenBase(RequestHandler):
    failures = 1

    def finish(self, chunk: Any = None) -> Any:
        if self.failures:
            self.failures -= 1
            raise ZeroDivisionError
        return super().finish(chunk)


class BrokenFinish(SessionMixin, BrokenBase):
    def fill(self) -> None:
        self.write("fine")


class BrokenForEver(SessionMixin, BrokenBase):
    failures = 100

    def fill(self) -> None:
        self.write("fine")


class Unstorable(Counting):
    def fill(self) -> None:
        self.session["cart"] = {}
        self.session["cart"]["thing"] = object()


class UnstorableAndForbidden(Unstorable):
    def fill(self) -> None:
        super().fill()
        raise HTTPError(403)


class UnstorableAndFinished(Unstorable):
    def fill(self) -> None:
        super().fill()
        raise Finish


def styles(handler: Any) -> dict[str, type[RequestHandler]]:
    """*handler* in each style in which a response can be completed."""

    class Auto(handler):  # type: ignore[misc]
        def get(self) -> None:
            self.session.increment("n")
            self.fill()

    class Unawaited(handler):  # type: ignore[misc]
        async def get(self) -> None:
            self.session.increment("n")
            self.fill()
            self.finish()
            await asyncio.sleep(0)

    class Awaited(handler):  # type: ignore[misc]
        async def get(self) -> None:
            self.session.increment("n")
            self.fill()
            await self.finish()

    class Coroutine(handler):  # type: ignore[misc]
        @gen.coroutine
        def get(self) -> Any:
            self.session.increment("n")
            self.fill()
            yield gen.moment

    class Later(handler):  # type: ignore[misc]
        def get(self) -> None:
            self._auto_finish = False
            self.session.increment("n")
            self.fill()
            asyncio.get_running_loop().call_soon(self.finish)

    return {f"/{kind.__name__}": kind for kind in (Auto, Unawaited, Awaited, Coroutine, Later)}


async def end_of(stream: IOStream, path: str) -> str:
    """The status line, or "closed"."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with asyncio.timeout(SECONDS):
        try:
            await stream.write(request)
            head = await stream.read_until(b"\r\n\r\n")
        except StreamClosedError:
            return "closed"
    return head.split(b"\r\n")[0].decode()


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (NoContent, "HTTP/1.1 500"),
        (NotModified, "HTTP/1.1 500"),
        (BrokenEtag, "HTTP/1.1 500"),
        (BrokenFinish, "HTTP/1.1 500"),
        (BrokenForEver, "closed"),
        (Unstorable, "HTTP/1.1 500"),
        (UnstorableAndForbidden, "HTTP/1.1 500"),
        (UnstorableAndFinished, "HTTP/1.1 500"),
    ],
)
def test_a_response_that_cannot_be_sent_comes_to_an_end(handler: Any, expected: str) -> None:
    async def scenario() -> None:
        routes = styles(handler)
        if handler is BrokenForEver:
            del routes["/Later"]  # nothing hears of an exception in a callback, as in Tornado
        async with site(slow_store(), list(routes.items())) as here:
            for path in routes:
                stream = await TCPClient().connect("127.0.0.1", here.port)
                assert (await end_of(stream, path)).startswith(expected), path
                stream.close()

    asyncio.run(scenario())


class Stream(SessionMixin, RequestHandler):
    """Sends its first part, changes the session, and fails to store it."""

    async def get(self) -> None:
        self.session["n"] = 1
        self.write("first")
        await self.flush()
        self.settings["store"].failing = {"save"}
        self.session["n"] = 2
        self.write("second")


def test_a_stream_whose_last_save_fails_is_cut_off() -> None:
    async def scenario() -> None:
        store = slow_store()
        async with site(store, [("/", Stream)], settings={"store": store}) as here:
            stream = await TCPClient().connect("127.0.0.1", here.port)
            await stream.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(SECONDS):
                with pytest.raises(StreamClosedError):
                    await stream.read_until(b"\r\n0\r\n\r\n")

    asyncio.run(scenario())


class BrokenStream(SessionMixin, RequestHandler):
    async def get(self) -> None:
        self.session["n"] = 1
        self.write("first")
        await self.flush()
        self.session["n"] = 2
        raise ZeroDivisionError


def test_a_stream_that_fails_discards_what_came_after_its_first_part() -> None:
    async def scenario() -> None:
        async with site(slow_store(), [("/", BrokenStream)]) as here:
            jar = Jar()
            await here.ask(jar, "/")
            assert await here.data(jar) == {"n": 1}

    asyncio.run(scenario())


class Events(SessionMixin, RequestHandler):
    """Server-sent events in the style that most people write: nobody awaits flush()."""

    async def get(self, way: str) -> None:
        if way == "write":
            self.session.increment("n")
        else:
            self.session.get("n")
        self.set_header("Content-Type", "text/event-stream")
        self.write("data: 1\n\n")
        self.flush()
        await self.settings["may_go_on"].wait()
        self.write("data: 2\n\n")


class CoroutineEvents(Events):
    @gen.coroutine
    def get(self, way: str) -> Any:
        if way == "write":
            self.session.increment("n")
        self.write("data: 1\n\n")
        self.flush()
        yield self.settings["may_go_on"].wait()
        self.write("data: 2\n\n")


class CallbackEvents(Events):
    def get(self, way: str) -> None:
        self._auto_finish = False
        if way == "write":
            self.session.increment("n")
        self.write("data: 1\n\n")
        self.flush()
        self.waiting = asyncio.ensure_future(self.go_on())

    async def go_on(self) -> None:
        await self.settings["may_go_on"].wait()
        self.finish("data: 2\n\n")


class Early(Events):
    async def get(self, way: str) -> None:
        self.session.increment("n")
        self.finish("data: 1\n\n")
        await self.settings["may_go_on"].wait()


@pytest.mark.parametrize("handler", [Events, CoroutineEvents, CallbackEvents, Early])
@pytest.mark.parametrize("way", ["read", "touch", "write"])
def test_an_unawaited_flush_or_finish_leaves_at_once(
    handler: type[RequestHandler], way: str, clock: Any
) -> None:
    async def scenario() -> None:
        settings = {"may_go_on": asyncio.Event()}
        async with site(
            slow_store(), [("/(.*)/events", handler)], settings=settings, clock=clock
        ) as here:
            jar = await here.logged_in()
            clock.advance(seconds=30 if way == "read" else 90)
            stream = await TCPClient().connect("127.0.0.1", here.port)
            await stream.write(
                f"GET /{way}/events HTTP/1.1\r\nHost: x\r\nCookie: {jar}\r\n\r\n".encode()
            )
            async with asyncio.timeout(SECONDS):
                await stream.read_until(b"data: 1\n\n")
            settings["may_go_on"].set()
            if handler is not Early:
                await stream.read_until(b"data: 2\n\n")
            stream.close()
            assert ((await here.data(jar)).get("n", 0) == 1) == (way == "write" or handler is Early)

    asyncio.run(scenario())


class FailingFlush(SessionMixin, RequestHandler):
    async def get(self) -> None:
        self.session["n"] = 1
        self.settings["store"].failing = {"save"}
        self.write("first")
        self.flush()
        await self.settings["may_go_on"].wait()


def test_an_unawaited_flush_that_fails_is_answered_at_once() -> None:
    async def scenario() -> None:
        store = slow_store()
        settings = {"may_go_on": asyncio.Event(), "store": store}
        async with site(store, [("/", FailingFlush)], settings=settings) as here:
            stream = await TCPClient().connect("127.0.0.1", here.port)
            assert (await end_of(stream, "/")).startswith("HTTP/1.1 503")
            settings["may_go_on"].set()  # type: ignore[attr-defined]
            stream.close()

    asyncio.run(scenario())


class Socket(WebSocketSessionMixin):
    login_required = False

    async def prepare(self) -> None:
        await super().prepare()
        self.session.increment("n")

    def on_message(self, message: str | bytes) -> None:
        pass


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (HANDSHAKE | {"Origin": "https://evil.example"}, 403),
        ({}, 400),
        ({"Upgrade": "websocket"}, 400),
        ({**HANDSHAKE, "Sec-WebSocket-Key": ""}, 400),
        ({**HANDSHAKE, "Sec-WebSocket-Version": "7"}, 426),
    ],
)
def test_a_socket_that_is_refused_stores_nothing(headers: dict[str, str], status: int) -> None:
    async def scenario() -> None:
        async with site(slow_store(), [("/socket", Socket)]) as here:
            jar = await here.logged_in()
            assert (await here.ask(jar, "/socket", headers=headers)).code == status
            assert await here.data(jar) == {}
            assert (await here.ask(Jar(), "/socket", headers=headers)).code == status
            assert await here.manager.length() == 1

    asyncio.run(scenario())


class Identity(SessionMixin, RequestHandler):
    def get(self) -> None:
        seen = [self.current_user]
        deeds: list[Callable[[], object]] = [
            lambda: self.session.login("ada"),
            lambda: self.session.login("bob"),
            self.session.reset,
            lambda: self.session.login("eve"),
            self.session.destroy,
        ]
        for deed in deeds:
            deed()
            seen.append(self.current_user)
        self.write({"seen": seen})


def test_current_user_follows_the_session() -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), [("/", Identity)]) as here:
            response = await here.ask(await here.logged_in("zoe"), "/")
            expected = b'{"seen": ["zoe", "ada", "bob", null, "eve", null]}'
            assert response.body == expected

    asyncio.run(scenario())


class OwnUser(SessionMixin, RequestHandler):
    """An application that loads its users in `prepare()`."""

    async def prepare(self) -> None:
        await super().prepare()
        self.current_user = f"user object of {self.session.user_id}"

    def get(self) -> None:
        self.session["n"] = 1
        self.write(self.current_user)


def test_a_current_user_that_was_assigned_stays() -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), [("/", OwnUser)]) as here:
            response = await here.ask(await here.logged_in(), "/")
            assert response.body == b"user object of ada"

    asyncio.run(scenario())


class ProgrammedUser(SessionMixin, RequestHandler):
    """An application whose users may come with a key instead of a session."""

    async def prepare(self) -> None:
        self.current_user = "robot"
        await super().prepare()

    def get(self) -> None:
        self.session["n"] = 1
        self.write(str(self.current_user))


def test_a_current_user_that_was_assigned_before_the_load_stays() -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), [("/", ProgrammedUser)]) as here:
            for jar in (await here.logged_in(), Jar()):
                assert (await here.ask(jar, "/")).body == b"robot"

    asyncio.run(scenario())


class Loud(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.session["n"] = 1
        self.write("x" * 4_000_000)

    def on_finish(self) -> None:
        raise ZeroDivisionError


def test_a_response_that_is_sent_stays_whole_though_on_finish_raises() -> None:
    async def scenario() -> None:
        async with site(slow_store(), [("/", Loud)]) as here:
            response = await here.ask(Jar(), "/")
            assert (response.code, len(response.body)) == (200, 4_000_000)

    asyncio.run(scenario())


class PageAndSocket(WebSocketSessionMixin):
    """A handler that answers requests which are no sockets by itself."""

    login_required = False

    async def get(self, *args: Any, **kwargs: Any) -> None:
        if "Upgrade" in self.request.headers:
            await super().get(*args, **kwargs)
        else:
            self.session["n"] = 1
            self.finish("a page")


def test_a_page_in_a_socket_handler_is_stored() -> None:
    async def scenario() -> None:
        async with site(MemoryStore(), [("/", PageAndSocket)]) as here:
            jar = Jar()
            assert (await here.ask(jar, "/")).body == b"a page"
            assert await here.data(jar) == {"n": 1}

    asyncio.run(scenario())
