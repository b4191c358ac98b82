"""Bounds on what one client, or one user, can have."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path

import pytest
from running import forget, running, running_server
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.testing import gen_test
from tornado.web import Application
from tornado.websocket import websocket_connect
from visiting import Visits

from hello_tornado.app import MAX_MESSAGE_BYTES
from hello_tornado.config.settings import Settings
from hello_tornado.connections import RESERVED_FILES
from hello_tornado.sessions import CookiePolicy, SessionManager, WebSocketSessionMixin, open_store
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.records.ids import SessionId


class TestSessionsOfOneUser(Visits):
    settings = Settings(session={"max_sessions_per_user": 3})  # type: ignore[arg-type]

    def test_a_login_beyond_the_limit_ends_the_oldest(self) -> None:
        cookies = []
        for _ in range(4):
            self.cookie = None
            self.clock.advance(seconds=1)
            self.log_in()
            cookies.append(self.cookie)
        greeted = [
            "Hello Ada" in self.visit("/", Cookie=cookie).body.decode() for cookie in cookies
        ]
        assert greeted == [False, True, True, True]
        self.cookie = None
        self.log_in("Eve")
        assert self.rows("ada") == 3, "somebody else's are not counted"

    def test_who_logs_in_again_is_not_counted_twice(self) -> None:
        for _ in range(5):
            self.log_in()
        assert self.rows("ada") == 1

    def test_parallel_logins_never_leave_more(self) -> None:
        async def log_in() -> None:
            session = await self.manager.open(None)
            session.login("Ada")
            await self.manager.commit(session)

        async def eight() -> None:
            await asyncio.gather(*(log_in() for _ in range(8)))

        for _ in range(5):
            self.io_loop.run_sync(eight)
            assert self.rows("Ada") == 3


@pytest.mark.gen_test
async def test_two_processes_count_together(sqlite_url: str) -> None:
    managers = [
        SessionManager(open_store(sqlite_url), max_sessions_per_user=3, log=False) for _ in range(2)
    ]

    async def log_in(manager: SessionManager) -> None:
        session = await manager.open(None)
        session.login("ada")
        await manager.commit(session)

    await asyncio.gather(*(log_in(manager) for manager in managers * 8))
    assert len(await managers[0].sessions_of("ada")) <= 3
    for manager in managers:
        await manager.aclose()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/sessions.db"


def test_the_longest_cookie_fits() -> None:
    policy = CookiePolicy(
        name="a" * 128, path="/" + "p" * 1023, domain="d" * 253, partitioned=True, priority="high"
    )
    keyring = Keyring.of({"cookie_secret": {999_999: "x" * 40}})
    header = policy.issue(keyring, SessionId("i" * 128), None, 1_800_000_000_000_000, https=True)
    pair = header.partition(";")[0]
    assert len(pair) < 1024 < len(header) < 4096


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_anonymous_traffic_creates_no_row(tmp_path: Path) -> None:
    """100,000 requests with cookies of all kinds, pages and posts, over eight connections."""
    with running_server(tmp_path) as server:
        bystander = server.log_in("Ada")
        requests = []
        for n in range(100):
            cookie = f"session=2|1:0|10:18000000{n:02}|7:session|60:{os.urandom(30).hex()}|{n:064}"
            for method, path in (("GET", "/"), ("HEAD", "/"), ("GET", "/api/session")):
                requests.append(
                    f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"
                )
        requests.append(
            "POST /user/logout HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        )
        chunk = "".join(requests).encode()
        rounds = -(-100_000 // len(requests))

        async def flood(times: int) -> int:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            answers = 0

            async def count() -> None:
                nonlocal answers
                while data := await reader.read(1 << 20):
                    answers += data.count(b"HTTP/1.1 ")

            counting = asyncio.create_task(count())
            for _ in range(times):
                writer.write(chunk)
                await writer.drain()
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await counting
            await forget(writer)
            return answers

        async def all_of_it() -> list[int]:
            return await asyncio.gather(*(flood(-(-rounds // 8)) for _ in range(8)))

        assert sum(asyncio.run(all_of_it())) >= 99_990
        stats = server.request("GET", "/", cookie=bystander)
        assert "Hello Ada" in stats[2]

    async def rows() -> int:
        store = open_store(f"sqlite:///{tmp_path}/var/sessions.db")
        try:
            return await store.count()
        finally:
            await store.aclose()

    assert asyncio.run(rows()) == 1


def test_idle_connections_make_room_when_files_run_out(tmp_path: Path) -> None:
    allowed = 40
    files = RESERVED_FILES + allowed
    program = (
        "import resource, runpy, sys;"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}));"
        "sys.argv = ['hello_tornado', 'serve', '--port', '0'];"
        "runpy.run_module('hello_tornado', run_name='__main__')"
    )
    with running([sys.executable, "-c", program], tmp_path) as server:
        cookie = server.log_in("Ada")
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5 * allowed)]
        for _ in range(20):
            assert "Hello Ada" in server.request("GET", "/", cookie=cookie)[2]
        for one in idle[: 3 * allowed]:
            one.settimeout(5)
            assert one.recv(1) == b"", "the oldest had to go"
        for one in idle:
            one.close()
        assert "Errno" not in server.text
        assert "Too many open files" not in server.text


class Echo(WebSocketSessionMixin):
    login_required = False

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


class TestMessages(Visits):
    def get_app(self) -> Application:
        app = super().get_app()
        app.add_handlers(".*", [("/echo", Echo)])
        return app

    @gen_test
    async def test_a_message_that_is_too_long_ends_the_socket(self) -> None:
        url = f"ws://127.0.0.1:{self.get_http_port()}/echo"
        connection = await websocket_connect(url)
        await connection.write_message("x" * MAX_MESSAGE_BYTES)
        assert len(await connection.read_message() or "") == MAX_MESSAGE_BYTES
        await connection.write_message("x" * (MAX_MESSAGE_BYTES + 1))
        assert await connection.read_message() is None
        connection.close()

    @gen_test
    async def test_a_socket_from_elsewhere_is_forbidden(self) -> None:
        url = f"ws://127.0.0.1:{self.get_http_port()}/echo"
        for origin in ("https://evil.example", "https://[bad", "null"):
            with pytest.raises(HTTPClientError) as refused:
                await websocket_connect(HTTPRequest(url, headers={"Origin": origin}))
            assert refused.value.code == 403


class TestData(Visits):
    def test_too_much_data_is_refused_before_anything_is_stored(self) -> None:
        self.log_in()
        before = self.data()
        answer = self.visit("/api/session/big", "PUT", body=json.dumps("x" * 100_000))
        assert answer.code == 413
        many = json.dumps({f"key {n}": n for n in range(20_000)})
        assert self.visit("/api/session/many", "PUT", body=many).code == 413
        assert self.data() == before
