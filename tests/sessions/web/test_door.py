"""`SessionDoor`: sessions in handlers that know nothing of us, in requests, and in bare strings."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sites import SECRET, Jar, Site, site
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest, ResponseStartLine
from tornado.netutil import bind_sockets
from tornado.web import (
    Application,
    FallbackHandler,
    HTTPError,
    RequestHandler,
    StaticFileHandler,
)
from tornado.websocket import WebSocketClientConnection, WebSocketHandler, websocket_connect

from hello_tornado.sessions import (
    CookiePolicy,
    Session,
    SessionDoor,
    SessionManager,
    SessionMixin,
    TokenPolicy,
    open_store,
)
from hello_tornado.sessions.errors import (
    ConfigurationError,
    NoResponse,
    ReadOnly,
    ResponseStarted,
    SessionEnded,
    SessionNotLoaded,
    StoreUnavailable,
)
from hello_tornado.sessions.events import CookieRejected, SessionNotBegun
from hello_tornado.sessions.stores.memory import MemoryStore

Deed = Callable[[RequestHandler, SessionDoor], Awaitable[None]]


class Moody(MemoryStore):
    """Fails or waits when it is told to."""

    is_down = False

    def __init__(self) -> None:
        super().__init__()
        self.is_saving, self.may_save = asyncio.Event(), asyncio.Event()
        self.may_save.set()

    async def load(self, *args: Any) -> Any:
        if self.is_down:
            raise StoreUnavailable("the store is down")
        return await super().load(*args)

    async def save(self, *args: Any) -> Any:
        self.is_saving.set()
        await self.may_save.wait()
        if self.is_down:
            raise StoreUnavailable("the store is down")
        return await super().save(*args)


class Foreign(RequestHandler):
    """A handler of somebody else: what it does is the test's."""

    async def get(self) -> None:
        await self.settings["deed"](self, self.settings["door"])


class Files(StaticFileHandler):
    """Another program's, which calls us from one place only."""

    async def prepare(self) -> None:
        door = self.settings["door"]
        session = await door.open(self)
        session.increment("files")
        await door.save(self, session)


class Outer(FallbackHandler):
    """Looks at the session, and leaves the answer to a handler of another application."""

    async def prepare(self) -> None:
        assert not (await self.settings["door"].open(self)).get("nothing")
        super().prepare()


class Ours(SessionMixin, RequestHandler):
    async def get(self) -> None:
        with pytest.raises(TypeError, match=r"use self\.session"):
            await self.settings["door"].open(self)


@asynccontextmanager
async def doors(**options: Any) -> AsyncIterator[tuple[Site, Moody]]:
    store = Moody()
    inner = Application([("/outer/(.*)", Files, {"path": "tests"})])
    routes = [
        ("/foreign", Foreign),
        ("/files/(.*)", Files, {"path": "tests"}),
        ("/ours", Ours),
        ("/outer/(.*)", Outer, {"fallback": inner}),
    ]
    async with site(store, routes, settings={"compress_response": True}, **options) as server:
        door = SessionDoor(server.manager, cookie_secret=SECRET)
        server.settings["door"] = inner.settings["door"] = door
        yield server, store


async def done(server: Site, jar: Jar, deed: Deed, status: int = 200) -> Any:
    server.settings["deed"] = deed
    response = await server.ask(jar, "/foreign")
    assert response.code == status, response.body
    return response


def cookies(response: Any) -> list[str]:
    return response.headers.get_list("Set-Cookie")


async def write(handler: RequestHandler, door: SessionDoor) -> None:
    session = await door.open(handler)
    session["colour"] = "red"
    await door.save(handler, session)


@pytest.mark.gen_test
async def test_a_plain_handler_shares_the_session_with_one_that_has_the_mixin() -> None:
    async with doors() as (server, store):
        jar = Jar()
        response = await done(server, jar, write)
        assert response.headers["Cache-Control"] == "no-store"
        assert "Cookie" in response.headers["Vary"]
        assert await server.data(jar) == {"colour": "red"}

        async def read(handler: RequestHandler, door: SessionDoor) -> None:
            handler.write((await door.open(handler))["colour"])

        response = await done(server, jar, read)
        assert response.body == b"red"
        assert not cookies(response)
        assert response.headers["Cache-Control"] == "private"
        assert "Cookie" in response.headers["Vary"]
        assert await store.count(server.manager.now()) == 1


@pytest.mark.gen_test
async def test_a_handler_of_another_program_counts_its_visits() -> None:
    async with doors() as (server, _store):
        jar = Jar()
        for place in ("outer", "files"):
            assert (await server.ask(jar, f"/{place}/conftest.py")).code == 200
        assert (await server.ask(jar, "/files/none")).code == 404
        assert await server.data(jar) == {"files": 3}


@pytest.mark.gen_test
async def test_a_login_renews_the_id_and_knows_the_device_and_a_logout_ends_the_session() -> None:
    async with doors() as (server, store):
        jar = Jar()
        await done(server, jar, write)
        before = jar.copy()

        async def log_in(handler: RequestHandler, door: SessionDoor) -> None:
            session = await door.open(handler)
            session.login("ada")
            await door.save(handler, session)

        await done(server, jar, log_in)
        assert jar != before
        assert await server.user(jar) == "ada"
        assert await server.user(before) is None
        (session,) = await server.manager.sessions_of("ada")
        assert session.device is not None

        async def log_out(handler: RequestHandler, door: SessionDoor) -> None:
            session = await door.open(handler)
            session.destroy()
            with pytest.raises(SessionEnded):
                session["late"] = True
            await door.save(handler, session)
            await door.save(handler, session)  # nothing is left to do

        response = await done(server, jar, log_out)
        assert "Max-Age=0" in cookies(response)[0]
        assert not jar
        assert await store.count(server.manager.now()) == 0


@pytest.mark.gen_test
async def test_saving_twice_sends_one_cookie_the_last() -> None:
    async with doors() as (server, store):
        jar = Jar()

        async def twice(handler: RequestHandler, door: SessionDoor) -> None:
            session = await door.open(handler)
            session["a"] = 1
            await door.save(handler, session)
            session["b"] = 2
            session.login("ada")
            await door.save(handler, session)
            await door.save(handler, session)

        response = await done(server, jar, twice)
        assert len(cookies(response)) == 1
        assert await server.show(jar) == {"user": "ada", "data": {"a": 1, "b": 2}}
        assert await store.count(server.manager.now()) == 1


@pytest.mark.gen_test
async def test_what_is_not_saved_is_not_stored_not_even_a_logout() -> None:
    async with doors() as (server, _store):
        jar = await server.logged_in()

        async def forget(handler: RequestHandler, door: SessionDoor) -> None:
            (await door.open(handler)).destroy()

        assert not cookies(await done(server, jar, forget))
        assert await server.user(jar) == "ada"


@pytest.mark.gen_test
async def test_after_the_headers_a_new_session_cannot_begin() -> None:
    async with doors() as (server, store):
        refused = []

        async def late(handler: RequestHandler, door: SessionDoor) -> None:
            session = await door.open(handler)
            session["a"] = 1
            await handler.flush()
            for _ in range(2):
                with pytest.raises(ResponseStarted, match=r"before the first flush\(\)") as info:
                    await door.save(handler, session)
                refused.append(info.value)

        async def later(handler: RequestHandler, door: SessionDoor) -> None:
            await handler.flush()
            session = await door.open(handler)
            await door.save(handler, session)  # there is nothing to store
            with pytest.raises(ResponseStarted):
                session["a"] = 1

        for deed in (late, later):
            assert not cookies(await done(server, Jar(), deed))
        assert len(refused) == 2
        assert await store.count(server.manager.now()) == 0


@pytest.mark.gen_test
async def test_after_the_headers_no_new_id_is_given_and_all_other_changes_are_stored() -> None:
    async with doors() as (server, _store):
        jar = await server.logged_in()

        async def late(handler: RequestHandler, door: SessionDoor) -> None:
            session = await door.open(handler)
            await handler.flush()
            session["flushed"] = True
            await door.save(handler, session)
            with pytest.raises(ResponseStarted):
                session.renew()
            handler.finish()
            session["finished"] = True
            await door.save(handler, session)

        await done(server, jar, late)
        assert await server.data(jar) == {"flushed": True, "finished": True}

        async def too_late(handler: RequestHandler, door: SessionDoor) -> None:
            session = await door.open(handler)
            session["with"] = "a renewal"
            session.renew()
            await handler.flush()
            with pytest.raises(ResponseStarted):
                await door.save(handler, session)

        await done(server, jar, too_late)
        assert "with" not in await server.data(jar)

        async def log_out(handler: RequestHandler, door: SessionDoor) -> None:
            session = await door.open(handler)
            await handler.flush()
            session.destroy()
            await door.save(handler, session)

        assert not cookies(await done(server, jar, log_out))
        assert await server.user(jar) is None


@pytest.mark.gen_test
async def test_an_error_afterwards_still_sends_the_cookie() -> None:
    async with doors() as (server, _store):
        jar = await server.logged_in()

        async def fail(handler: RequestHandler, door: SessionDoor) -> None:
            session = await door.open(handler)
            session.renew()
            await door.save(handler, session)
            raise HTTPError(418)

        before = jar.copy()
        assert len(cookies(await done(server, jar, fail, 418))) == 1
        assert await server.user(before) is None
        assert await server.user(jar) == "ada"


@pytest.mark.gen_test
async def test_two_saves_and_two_opens_side_by_side_are_one_session() -> None:
    async with doors() as (server, store):
        jar = Jar()

        async def both(handler: RequestHandler, door: SessionDoor) -> None:
            one, other = await asyncio.gather(door.open(handler), door.open(handler.request))
            assert one is other
            store.may_save.clear()
            one["a"] = 1
            saving = asyncio.create_task(door.save(handler, one))
            await store.is_saving.wait()
            other["b"] = 2
            again = asyncio.create_task(door.save(handler, other))
            store.may_save.set()
            await asyncio.gather(saving, again)

        assert len(cookies(await done(server, jar, both))) == 1
        assert await server.data(jar) == {"a": 1, "b": 2}
        assert await store.count(server.manager.now()) == 1


@pytest.mark.gen_test
async def test_a_session_that_has_ended_meanwhile_stays_ended() -> None:
    async with doors() as (server, store):
        jar = await server.logged_in()

        async def revoked(handler: RequestHandler, door: SessionDoor) -> None:
            session = await door.open(handler)
            assert session.handle is not None
            await server.manager.revoke(session.handle)
            session["late"] = True
            await door.save(handler, session)
            assert session.ended

        assert not cookies(await done(server, jar, revoked))
        assert await store.count(server.manager.now()) == 0


@pytest.mark.gen_test
@pytest.mark.parametrize("goes_down", [False, True])
async def test_a_save_that_is_cancelled_goes_on(
    goes_down: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with doors() as (server, store):
        jar = await server.logged_in()

        async def cancelled(handler: RequestHandler, door: SessionDoor) -> None:
            session = await door.open(handler)
            session["colour"] = "red"
            store.is_saving.clear()
            store.may_save.clear()
            saving = asyncio.create_task(door.save(handler, session))
            await store.is_saving.wait()
            saving.cancel()
            await asyncio.wait([saving])
            assert saving.cancelled()
            store.is_down = goes_down
            store.may_save.set()
            if goes_down:
                with pytest.raises(StoreUnavailable):
                    await door.save(handler, session)
                store.is_down = False
            await door.save(handler, session)

        with caplog.at_level(logging.ERROR):
            await done(server, jar, cancelled)
        assert await server.data(jar) == {"colour": "red"}
        lines = [one.message for one in caplog.records if "nobody waits" in one.message]
        assert len(lines) == goes_down
        assert "red" not in caplog.text


@pytest.mark.gen_test
async def test_while_the_store_is_down_the_caller_is_told_and_may_try_again() -> None:
    async with doors() as (server, store):
        jar = await server.logged_in()

        async def patient(handler: RequestHandler, door: SessionDoor) -> None:
            store.is_down = True
            with pytest.raises(StoreUnavailable):
                await door.open(handler)
            store.is_down = False
            session = await door.open(handler)
            session["colour"] = "red"
            store.is_down = True
            with pytest.raises(StoreUnavailable):
                await door.save(handler, session)
            store.is_down = False
            await door.save(handler, session)

        await done(server, jar, patient)
        assert await server.data(jar) == {"colour": "red"}


@pytest.mark.gen_test
async def test_what_is_not_the_doors_is_refused() -> None:
    async with doors() as (server, _store):
        assert (await server.ask(Jar(), "/ours")).code == 200

        async def mistaken(handler: RequestHandler, door: SessionDoor) -> None:
            other = await server.manager.open(None)
            with pytest.raises(SessionNotLoaded, match=r"await door\.open"):
                await door.save(handler, other)
            await door.open(handler)
            with pytest.raises(SessionNotLoaded, match=r"await door\.open"):
                await door.save(handler, other)

        await done(server, Jar(), mistaken)


@pytest.mark.gen_test
async def test_two_doors_in_one_request_do_not_meet() -> None:
    policy = CookiePolicy(name="other")
    async with doors() as (server, _store), SessionManager("memory://", cookie=policy) as manager:
        jar = Jar()
        second = SessionDoor(manager, cookie_secret=b"another secret of the tests")

        async def both(handler: RequestHandler, first: SessionDoor) -> None:
            for door in (first, second):
                session = await door.open(handler)
                session.increment("n", by=1 if door is first else 10)
                await door.save(handler, session)
                handler.write(f"{session['n']} ")

        await done(server, jar, both)
        assert set(jar) == {"session", "other"}
        assert (await done(server, jar, both)).body == b"2 20 "


@pytest.mark.gen_test
async def test_a_cookie_that_could_not_come_back_begins_no_session() -> None:
    async with doors(cookie=CookiePolicy(secure=True)) as (server, store):
        assert not cookies(await done(server, Jar(), write))
        assert [one for one in server.events if isinstance(one, SessionNotBegun)]
        assert await store.count(server.manager.now()) == 0


@pytest.mark.gen_test
async def test_a_request_without_a_handler_gets_the_headers_to_send() -> None:
    """With Tornado's HTTP server alone, and no application."""
    async with SessionManager("memory://") as manager:
        door = SessionDoor(manager, cookie_secret=SECRET)
        tasks: set[asyncio.Task[None]] = set()

        async def answer(request: HTTPServerRequest) -> None:
            session = await door.open(request)
            visits = session.increment("visits")
            headers = await door.save(request, session)
            if visits == 1:
                with pytest.raises(ResponseStarted):
                    session.login("ada")
            session["more"] = True
            await door.save(request, session)
            body = f"{visits}".encode()
            headers["Content-Length"] = str(len(body))
            assert request.connection is not None
            await request.connection.write_headers(ResponseStartLine("", 200, "OK"), headers, body)
            request.connection.finish()

        def serve(request: HTTPServerRequest) -> None:
            tasks.add(asyncio.create_task(answer(request)))

        server, sockets = HTTPServer(serve), bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        jar, url = Jar(), f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"
        for visits in (b"1", b"2"):
            sent = HTTPRequest(url, headers={"Cookie": str(jar)} if jar else {})
            response = jar.take(await AsyncHTTPClient().fetch(sent))
            assert response.body == visits
            assert len(cookies(response)) == (visits == b"1")
        await asyncio.gather(*tasks)
        server.stop()
        await server.close_all_connections()


# A cookie string outside of any handler.


async def cookie_of(manager: SessionManager, user: str, door: SessionDoor, **how: bool) -> str:
    """A living session's cookie, as a browser sends it."""
    session = await manager.open(None)
    session.login(user)
    action: Any = await manager.commit(session)
    policy: Any = manager.cookie
    https = how.get("https", False)
    set_cookie = policy.issue(door._keyring, action.session_id, None, manager.now(), https=https)
    return str(set_cookie.partition(";")[0])


@pytest.mark.gen_test
async def test_the_session_of_a_cookie_string() -> None:
    events: list[object] = []
    async with SessionManager("memory://", hooks=[events.append]) as manager:
        door = SessionDoor(manager, cookie_secret=SECRET)
        ada, bob = [await cookie_of(manager, user, door) for user in ("ada", "bob")]
        tampered = ada[:-1] + ("0" if ada[-1] != "0" else "1")

        async def user(header: str | bytes | None, **how: bool) -> str | None:
            session = await door.session_of(header, **how)
            return None if session is None else session.user_id

        for none in (None, "", b"", "a=b", tampered, "session=", "session", "\xff;;=", b"\xff\xfe"):
            assert await user(none) is None, none
        for some in (ada, ada.encode(), f"a=b;{ada}; c", f"{ada}; {ada}", f"{tampered}; {ada}"):
            assert await user(some) == "ada", some
        assert await user(f"{ada}; {bob}") is None
        assert CookieRejected("ambiguous") in events
        assert await user("; ".join([ada] * 5)) is None
        assert CookieRejected("too_many") in events
        await manager.revoke_user("bob")
        assert await user(bob) is None
        assert await user(f"{bob}; {ada}") == "ada"


@pytest.mark.gen_test
async def test_over_https_the_cookie_has_another_name() -> None:
    async with SessionManager("memory://") as manager:
        door = SessionDoor(manager, cookie_secret=SECRET)
        plain = await cookie_of(manager, "ada", door)
        secure = await cookie_of(manager, "bob", door, https=True)
        found = {
            (cookie, https): session and session.user_id
            for cookie in (plain, secure, f"{plain}; {secure}")
            for https in (None, False, True)
            for session in [await door.session_of(cookie, https=https)]
        }
        both = f"{plain}; {secure}"
        assert found == {
            (plain, None): "ada",
            (plain, False): "ada",
            (plain, True): None,
            (secure, None): "bob",
            (secure, False): None,
            (secure, True): "bob",
            (both, None): "bob",
            (both, False): "ada",
            (both, True): "bob",
        }


@pytest.mark.gen_test
async def test_a_session_of_a_string_is_only_looked_at(clock: Any) -> None:
    store = Moody()
    async with SessionManager(store, clock=clock) as manager:
        door = SessionDoor(manager, cookie_secret=SECRET)
        cookie = await cookie_of(manager, "ada", door)
        clock.advance(minutes=30)
        session = await door.session_of(cookie)
        assert session is not None
        assert session.handle is not None
        with pytest.raises(ReadOnly, match="transaction"):
            session["a"] = 1
        async with manager.transaction(session.handle, keeps_alive=False) as writable:
            assert writable.user_id == "ada"
        store.is_down = True
        with pytest.raises(StoreUnavailable):
            await door.session_of(cookie)
        store.is_down = False
        clock.advance(minutes=31)  # looking was no use of it
        assert await door.session_of(cookie) is None


@pytest.mark.gen_test
async def test_a_token_is_a_string_too_and_a_function_of_the_request_is_none() -> None:
    async with SessionManager("memory://", cookie=TokenPolicy()) as manager:
        door = SessionDoor(manager, cookie_secret=SECRET)
        token = await cookie_of(manager, "ada", door)
        session = await door.session_of(token)
        assert session is not None
        assert session.user_id == "ada"
    async with SessionManager("memory://", cookie=lambda _request: TokenPolicy()) as manager:
        with pytest.raises(ConfigurationError, match="a function chooses by a request"):
            await SessionDoor(manager, cookie_secret=SECRET).session_of(token)


@pytest.mark.gen_test
async def test_old_secrets_are_still_read() -> None:
    async with SessionManager("memory://") as manager:
        old, new = "an old secret of the tests", "a new secret of the tests"
        cookie = await cookie_of(manager, "ada", SessionDoor(manager, cookie_secret=old))
        for secrets, user in (([new, old], "ada"), ([new], None), ({0: old, 1: new}, "ada")):
            session = await SessionDoor(manager, cookie_secret=secrets).session_of(cookie)
            assert (session and session.user_id) == user
        by_version = {1: old, 2: new}
        versioned = SessionDoor(manager, cookie_secret=by_version, key_version=1)
        assert "|1:1|" in await cookie_of(manager, "ada", versioned)
        with pytest.raises(ConfigurationError, match="key_version"):
            SessionDoor(manager, cookie_secret=by_version, key_version=3)
        for wrong in ("short", b"", [], None):
            with pytest.raises(ConfigurationError, match="cookie_secret"):
                SessionDoor(manager, cookie_secret=wrong)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="SessionManager"):
            SessionDoor("sqlite://", cookie_secret=new)  # type: ignore[arg-type]


# Sockets.


class Socket(WebSocketHandler):
    """Somebody else's socket."""

    session: Session

    async def prepare(self) -> None:
        door = self.settings["door"]
        self.session = await door.open(self)
        if self.get_argument("begin", ""):
            self.session["socket"] = True
        await door.save(self, self.session)
        if self.get_argument("early", ""):
            with pytest.raises(RuntimeError, match=r"call door\.watch\(\) in open\(\)"):
                door.watch(self, self.session)

    async def open(self, *_args: str, **_kwargs: str) -> None:
        door = self.settings["door"]
        if self.get_argument("slow", ""):
            await self.settings["may_watch"].wait()
        if self.get_argument("hang_up", ""):
            self.close()
            door.watch(self, self.session)
            return
        door.watch(self, self.session, self.settings.get("on_change"))
        await self.write_message("watched")

    async def on_message(self, message: str | bytes) -> None:
        if message == "logout":
            self.session.destroy()
            await self.settings["door"].save(self, self.session)
        elif message == "login":
            with pytest.raises((ResponseStarted, NoResponse)):
                self.session.login("eve")
        else:
            self.session["said"] = str(message)
            await self.settings["door"].save(self, self.session)
        await self.write_message(str(len(self.settings["door"].manager.watcher)))

    def on_close(self) -> None:
        self.settings["closed"].put_nowait(None)


@asynccontextmanager
async def sockets(url: str) -> AsyncIterator[tuple[SessionDoor, int, Any]]:
    """An application without any setting of ours."""
    async with SessionManager(open_store(url)) as manager:
        door = SessionDoor(manager, cookie_secret=SECRET)
        application = Application([("/socket", Socket)])
        application.settings |= {
            "door": door,
            "closed": asyncio.Queue(),
            "may_watch": asyncio.Event(),
        }
        server, listening = HTTPServer(application), bind_sockets(0, "127.0.0.1")
        server.add_sockets(listening)
        yield door, listening[0].getsockname()[1], application.settings
        server.stop()
        await server.close_all_connections()


async def connect(port: int, cookie: str = "", query: str = "") -> WebSocketClientConnection:
    url = f"ws://127.0.0.1:{port}/socket{query}"
    return await websocket_connect(HTTPRequest(url, headers={"Cookie": cookie}))


async def end_of(connection: WebSocketClientConnection) -> tuple[int | None, str | None]:
    assert await connection.read_message() is None
    connection.close()
    return connection.close_code, connection.close_reason


REVOKE = """
import asyncio, sys
from hello_tornado.sessions import SessionManager

async def main():
    async with SessionManager(sys.argv[1]) as manager:
        assert await manager.revoke_user("ada") == 1

asyncio.run(main())
"""


@pytest.mark.gen_test
async def test_a_socket_is_closed_when_another_process_revokes_its_session(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sessions.db"
    async with sockets(url) as (door, port, settings):
        connection = await connect(port, await cookie_of(door.manager, "ada", door), "?early=1")
        other = await connect(port, await cookie_of(door.manager, "bob", door))
        for one in (connection, other):
            assert await one.read_message() == "watched"
        await connection.write_message("hello")
        assert await connection.read_message() == "2"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", REVOKE, url)
        assert await process.wait() == 0
        assert await end_of(connection) == (4401, "revoked")
        await settings["closed"].get()
        assert len(door.manager.watcher) == 1
        other.close()
        await settings["closed"].get()  # the handler's own on_close() is called
        assert len(door.manager.watcher) == 0


@pytest.mark.gen_test
async def test_a_socket_may_log_out_and_may_not_log_in() -> None:
    async with sockets("memory://") as (door, port, _settings):
        connection = await connect(port, await cookie_of(door.manager, "ada", door))
        assert await connection.read_message() == "watched"
        await connection.write_message("login")
        assert await connection.read_message() == "1"
        await connection.write_message("logout")
        while await connection.read_message() is not None:
            pass
        connection.close()
        assert (connection.close_code, connection.close_reason) == (4401, "logged_out")


@pytest.mark.gen_test
async def test_a_session_that_begins_with_the_socket_sends_its_cookie_with_the_101() -> None:
    async with sockets("memory://") as (door, port, _settings):
        connection = await connect(port, query="?begin=1")
        assert await connection.read_message() == "watched"
        cookie = connection.headers["Set-Cookie"].partition(";")[0]
        session = await door.session_of(cookie)
        assert session == {"socket": True}
        await door.manager.revoke(session.handle or "")
        assert await end_of(connection) == (4401, "revoked")


@pytest.mark.gen_test
async def test_a_watch_tells_of_changes_and_of_the_end() -> None:
    """The copies refuse writes; the last one is the socket's own session, which has ended."""
    told: asyncio.Queue[Session] = asyncio.Queue()
    async with sockets("memory://") as (door, port, settings):
        settings["on_change"] = told.put_nowait
        connection = await connect(port, await cookie_of(door.manager, "ada", door))
        assert await connection.read_message() == "watched"
        (session,) = await door.manager.sessions_of("ada")
        assert session.handle is not None
        await door.manager.update(session.handle, lambda copy: copy.increment("clicks"))
        changed = await told.get()
        assert (changed.user_id, changed["clicks"]) == ("ada", 1)
        with pytest.raises(ReadOnly):
            changed["clicks"] = 2
        await door.manager.revoke(session.handle)
        ended = await told.get()
        assert (ended.ended, ended.ended_reason, dict(ended)) == (True, "revoked", {})
        assert await end_of(connection) == (4401, "revoked")


@pytest.mark.gen_test
async def test_a_visitor_without_a_session_is_not_watched() -> None:
    async with sockets("memory://") as (door, port, _settings):
        connection = await connect(port)
        assert await connection.read_message() == "watched"
        assert len(door.manager.watcher) == 0
        connection.close()


@pytest.mark.gen_test
async def test_what_ends_or_closes_before_the_watch_is_noticed() -> None:
    async with sockets("memory://") as (door, port, settings):
        connection = await connect(port, await cookie_of(door.manager, "ada", door), "?slow=1")
        gone = await connect(port, await cookie_of(door.manager, "bob", door), "?slow=1")
        await door.manager.revoke_user("ada")
        gone.close()
        settings["may_watch"].set()
        assert await connection.read_message() == "watched"
        assert await end_of(connection) == (4401, "revoked")
        hung_up = await connect(port, await cookie_of(door.manager, "eve", door), "?hang_up=1")
        assert await hung_up.read_message() is None
        hung_up.close()
        for _ in range(3):
            await settings["closed"].get()
        assert len(door.manager.watcher) == 0
