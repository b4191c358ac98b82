"""Sockets know their session, and end with it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from every_store import UrlOf
from fakes import SECRET, FakeStore
from socket_frames import HANDSHAKE
from tornado.httpclient import HTTPRequest
from tornado.testing import AsyncHTTPTestCase, gen_test
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClientConnection, websocket_connect

from hello_tornado.sessions import (
    SessionManager,
    SessionMixin,
    Store,
    WebSocketSessionMixin,
    open_store,
)
from hello_tornado.sessions.events import SessionEvent, WatchFailed
from hello_tornado.sessions.manager import watcher
from hello_tornado.sessions.manager.watcher import INTERVAL_SECONDS, Watch
from hello_tornado.sessions.records.record import SessionRecord

PATIENCE_SECONDS = 20  # of a test; the promise is a second


class Page(SessionMixin, RequestHandler):
    def get(self, deed: str) -> None:
        match deed:
            case "login":
                self.session.login("Ada")
            case "login-bob":
                self.session.login("Bob")
            case "logout":
                self.session.destroy()
            case "renew":
                self.session.renew()
            case "reset":
                self.session.reset()
            case "write":
                self.session["colour"] = "red"


class Socket(WebSocketSessionMixin):
    def on_session_change(self) -> None:
        self.write_message(f"colour {self.session.get('colour')}")

    async def on_message(self, message: str | bytes) -> None:
        self.settings["heard"].append(message)
        if message == "write":
            async with self.session_transaction() as session:
                self.write_message(str(session.increment("messages")))
        elif message == "read":
            async with self.session_transaction() as session:
                self.write_message(f"{session.user_id} {session.get('colour')}")
        else:
            self.write_message(f"{self.session.user_id} {message!r}")


class Lively(Socket):
    session_touch = True


class Public(Socket):
    login_required = False


class Rude(Socket):
    """Goes on talking when its session is over."""

    def on_session_end(self, reason: str) -> None:
        self.write_message(f"over: {reason}, {self.session.user_id}")


class Broken(Socket):
    def on_session_change(self) -> None:
        raise RuntimeError


async def heard(connection: WebSocketClientConnection) -> str | bytes | None:
    return await asyncio.wait_for(connection.read_message(), PATIENCE_SECONDS)


async def end_of(connection: WebSocketClientConnection) -> tuple[int | None, str | None]:
    assert await heard(connection) is None
    connection.close()
    return connection.close_code, connection.close_reason


class TestSockets(AsyncHTTPTestCase):
    @pytest.fixture(autouse=True)
    def surroundings(self, clock: Any, caplog: pytest.LogCaptureFixture) -> None:
        self.clock, self.caplog = clock, caplog

    def get_app(self) -> Application:
        self.events: list[SessionEvent] = []
        self.heard: list[str | bytes] = []
        self.store = FakeStore()
        self.manager = SessionManager(
            self.store, clock=lambda: self.clock.now, hooks=[self.events.append]
        )
        return Application(
            [
                ("/socket", Socket),
                ("/lively", Lively),
                ("/public", Public),
                ("/rude", Rude),
                ("/broken", Broken),
                ("/(.*)", Page),
            ],
            cookie_secret=SECRET,
            session_manager=self.manager,
            heard=self.heard,
        )

    async def visit(self, path: str, cookie: str = "") -> str:
        response = await self.http_client.fetch(self.get_url(path), headers={"Cookie": cookie})
        return response.headers.get("Set-Cookie", cookie).partition(";")[0]

    async def open(self, cookie: str = "", path: str = "/socket") -> WebSocketClientConnection:
        url = self.get_url(path).replace("http", "ws")
        return await websocket_connect(HTTPRequest(url, headers={"Cookie": cookie}))

    async def refusal(self, cookie: str, **headers: str) -> int:
        """The status of the answer to a handshake that is refused."""
        answer = await self.http_client.fetch(
            self.get_url("/socket"),
            headers={"Cookie": cookie, **HANDSHAKE, **headers},
            raise_error=False,
        )
        return answer.code

    @gen_test
    async def test_who_is_not_logged_in_is_refused_before_the_upgrade(self) -> None:
        anonymous = await self.visit("/write")
        over = await self.visit("/login")
        await self.visit("/logout", over)
        for cookie in ("", anonymous, over, "session=forged"):
            assert await self.refusal(cookie) == 403
        assert len(self.manager.watcher) == 0

    @gen_test
    async def test_another_origin_is_refused_before_the_upgrade(self) -> None:
        cookie = await self.visit("/login")
        assert await self.refusal(cookie, Origin="https://evil.example") == 403
        assert len(self.manager.watcher) == 0

    @gen_test
    async def test_a_socket_for_everybody_says_so(self) -> None:
        connection = await self.open(path="/public")
        await connection.write_message("hello")
        assert await heard(connection) == "None 'hello'"
        connection.close()

    @gen_test
    async def test_the_socket_of_somebody_without_a_name_ends_with_the_session_too(self) -> None:
        cookie = await self.visit("/write")
        connection = await self.open(cookie, "/public")
        await self.visit("/logout", cookie)
        assert await end_of(connection) == (4401, "logged_out")

    @gen_test
    async def test_a_logout_closes_all_sockets_of_the_session_and_no_others(self) -> None:
        mine, others = await self.visit("/login"), await self.visit("/login")
        sockets = [await self.open(mine) for _ in range(2)]
        other = await self.open(others)
        await self.visit("/logout", mine)
        for one in sockets:
            assert await end_of(one) == (4401, "logged_out")
        await other.write_message("still here")
        assert await heard(other) == "Ada 'still here'"
        other.close()

    @gen_test
    async def test_revocation_expiry_and_a_new_id_close_it(self) -> None:
        for end, reason in (
            (self.revoke, "revoked"),
            (self.expire, "expired"),
            (self.renew, "renewed"),
            (self.become_bob, "ended"),
        ):
            cookie = await self.visit("/login")
            connection = await self.open(cookie)
            await end(cookie)
            assert await end_of(connection) == (4401, reason)

    async def revoke(self, _cookie: str) -> None:
        await self.manager.revoke_user("Ada")

    async def expire(self, _cookie: str) -> None:
        self.clock.advance(hours=2)

    async def renew(self, cookie: str) -> None:
        await self.visit("/renew", cookie)

    async def become_bob(self, cookie: str) -> None:
        await self.visit("/login-bob", cookie)

    @gen_test
    async def test_what_ended_while_the_socket_was_opened_is_seen(self) -> None:
        cookie = await self.visit("/login")
        connecting = asyncio.ensure_future(self.open(cookie, "/rude"))
        await self.until(lambda: len(self.manager.watcher) == 1)
        await self.visit("/logout", cookie)
        connection = await connecting
        assert await heard(connection) == "over: logged_out, None"
        connection.close()

    @gen_test
    async def test_no_message_is_handled_after_the_end(self) -> None:
        cookie = await self.visit("/login")
        connection = await self.open(cookie, "/rude")
        await self.visit("/logout", cookie)
        assert await heard(connection) == "over: logged_out, None"
        await connection.write_message("write")
        connection.close()
        await self.until(lambda: len(self.manager.watcher) == 0)
        assert self.heard == []

    @gen_test
    async def test_a_message_sees_what_others_have_written(self) -> None:
        cookie = await self.visit("/login")
        connection = await self.open(cookie)
        await connection.write_message("read")
        assert await heard(connection) == "Ada None"
        await self.visit("/write", cookie)
        answers = set()
        await connection.write_message("read")
        while "colour red" not in answers:  # said when the change was seen
            answers.add(await heard(connection))
        assert "Ada red" in answers
        await connection.write_message("write")
        assert await heard(connection) == "1"
        connection.close()

    @gen_test
    async def test_to_listen_or_to_beat_keeps_nobody_logged_in(self) -> None:
        cookie = await self.visit("/login")
        (before,) = self.store._records.values()
        connection = await self.open(cookie)
        self.clock.advance(minutes=30)
        await connection.write_message("read")
        await heard(connection)
        connection.close()
        connection = await self.open(cookie)  # as a page does when the line was lost
        connection.close()
        assert [*self.store._records.values()] == [before]

    @gen_test
    async def test_unless_it_is_asked_for(self) -> None:
        cookie = await self.visit("/login")
        connection = await self.open(cookie, "/lively")
        self.clock.advance(minutes=30)
        await connection.write_message("read")
        while await heard(connection) != "Ada None":
            pass
        (record,) = self.store._records.values()
        assert record.accessed_at == self.clock.now
        connection.close()

    @gen_test
    async def test_a_store_that_is_down_closes_nothing_and_says_so(self) -> None:
        cookie = await self.visit("/login")
        connection = await self.open(cookie)
        self.store.is_down = True
        await self.until(lambda: WatchFailed("the store is down") in self.events)
        await connection.write_message("hello")
        assert await heard(connection) == "Ada 'hello'"
        self.store.is_down = False
        await self.visit("/logout", cookie)
        assert await end_of(connection) == (4401, "logged_out")

    @gen_test
    async def test_after_a_mistake_of_the_store_it_goes_on_watching(self) -> None:
        cookie = await self.visit("/login")
        connection = await self.open(cookie)
        self.store.failing, self.store.error = {"load"}, RuntimeError
        await self.until(lambda: "watching failed" in self.caplog.text)
        self.store.failing = ()
        await self.visit("/logout", cookie)
        assert await end_of(connection) == (4401, "logged_out")

    @gen_test
    async def test_what_is_over_is_closed_though_nobody_can_say_why(self) -> None:
        cookie = await self.visit("/login")
        connection = await self.open(cookie)
        self.store.failing = {"find_by_handle"}
        await self.visit("/renew", cookie)
        assert await end_of(connection) == (4401, "ended")

    @gen_test
    async def test_an_end_is_looked_at_alone(self) -> None:
        cookies = [await self.visit("/login") for _ in range(5)]
        connections = [await self.open(cookie) for cookie in cookies]
        watcher_looks = self.manager.watcher.look
        asked: list[int | None] = []

        def look(at: Any = None) -> Any:
            asked.append(None if at is None else len(at))
            return watcher_looks(at)

        self.manager.watcher.look = look  # type: ignore[method-assign]
        await self.visit("/logout", cookies[0])
        assert await end_of(connections[0]) == (4401, "logged_out")
        assert 1 in asked
        for connection in connections[1:]:
            connection.close()

    @gen_test
    async def test_one_broken_handler_leaves_the_others_theirs(self) -> None:
        cookie = await self.visit("/login")
        broken, sound = await self.open(cookie, "/broken"), await self.open(cookie)
        await self.visit("/write", cookie)
        assert await heard(sound) == "colour red"
        assert "a watch failed on a change" in self.caplog.text
        await self.visit("/logout", cookie)
        for connection in (broken, sound):
            assert await end_of(connection) == (4401, "logged_out")

    @gen_test
    async def test_nobody_is_watched_when_no_socket_is_open(self) -> None:
        cookie = await self.visit("/login")
        for _ in range(3):
            connection = await self.open(cookie)
            assert len(self.manager.watcher) == 1
            connection.close()
            await self.until(lambda: len(self.manager.watcher) == 0)
        assert self.manager.watcher._tasks == []

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not is_so():  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.001)


@pytest.mark.gen_test(timeout=PATIENCE_SECONDS)
async def test_another_process_is_told_within_a_second(make_store: Callable[[], Store]) -> None:
    here, there = (SessionManager(make_store(), log=False) for _ in range(2))
    sessions = [await here.open(None) for _ in range(300)]
    for session in sessions:
        session.login("Ada")
    await asyncio.gather(*(here.commit(session) for session in sessions))
    reasons: asyncio.Queue[str] = asyncio.Queue()
    records = [session.record for session in sessions if session.record]
    for record in records:
        here.watcher.add(record, Watch(_nothing, reasons.put_nowait))
    assert INTERVAL_SECONDS <= 0.5
    await there.revoke(records[0].handle)
    assert await reasons.get() == "revoked"
    await there.revoke_user("Ada")
    assert {await reasons.get() for _ in records[1:]} == {"revoked"}
    for manager in (here, there):
        await manager.aclose()


@pytest.mark.gen_test(timeout=PATIENCE_SECONDS)
async def test_a_store_that_announces_ends_saves_the_wait(
    announcing_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "INTERVAL_SECONDS", 3600)
    here, there = (SessionManager(open_store(announcing_url), log=False) for _ in range(2))
    reasons: asyncio.Queue[str] = asyncio.Queue()
    handles = []
    for _ in range(300):
        session = await here.open(None)
        session.login("Ada")
        await here.commit(session)
        assert session.record is not None
        handles.append(session.record.handle)
        here.watcher.add(session.record, Watch(_nothing, reasons.put_nowait))
    await _until_somebody_listens(here, there)
    await there.revoke(handles[0])
    assert await reasons.get() == "revoked"
    await there.revoke_user("Ada")
    assert {await reasons.get() for _ in handles[1:]} == {"revoked"}
    for manager in (here, there):
        await manager.aclose()


@pytest.fixture(params=["postgresql", "postgresql+asyncpg", "redis", "redis_cluster"])
def announcing_url(request: pytest.FixtureRequest, url_of: UrlOf) -> str:
    return url_of(request.param)


async def _until_somebody_listens(here: SessionManager, there: SessionManager) -> None:
    """A session of its own is announced, until its end is heard."""
    heard = asyncio.Event()
    while not heard.is_set():
        session = await here.open(None)
        session.login("Bob")
        await here.commit(session)
        assert session.record is not None
        here.watcher.add(session.record, Watch(_nothing, lambda _: heard.set()))
        await there.revoke(session.record.handle)
        with suppress(TimeoutError):
            await asyncio.wait_for(heard.wait(), 0.2)


def _nothing(_record: SessionRecord) -> None:
    """Nobody asks."""
