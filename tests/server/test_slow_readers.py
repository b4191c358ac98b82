"""A client that takes its response slowly, or never, is not waited for without end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from weakref import WeakSet

import pytest
from running import running_server
from socket_frames import HANDSHAKE, TEXT_FRAME
from tornado.httpclient import AsyncHTTPClient
from tornado.testing import bind_unused_port, gen_test
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler
from visiting import Visits

from hello_tornado.connections import PoliteServer

BIG = b"x" * 2**24  # more than the kernel takes for a client that does not read
SHORT, LONG = 0.2, 60.0


class Big(RequestHandler):
    def get(self) -> None:
        self.write(BIG)


class Small(RequestHandler):
    def get(self) -> None:
        self.write("ok")


class Echo(WebSocketHandler):
    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(message)


class Watched(PoliteServer):
    """Says when a connection is closed."""

    closed: asyncio.Event

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        self.closed.set()


@asynccontextmanager
async def serving(answer_seconds: float) -> AsyncIterator[tuple[Watched, int]]:
    server = Watched(Application([("/big", Big), ("/small", Small), ("/ws", Echo)]))
    server.closed = asyncio.Event()
    server.limit(10, answer_seconds)
    listening, port = bind_unused_port()
    server.add_socket(listening)
    yield server, port
    server.stop()
    await server.close_all_connections()


async def connected(port: int) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
    return client


async def sent(client: socket.socket, path: str, **headers: str) -> None:
    lines = [f"{name}: {value}\r\n" for name, value in {"Host": "localhost", **headers}.items()]
    head = f"GET {path} HTTP/1.1\r\n{''.join(lines)}\r\n"
    await asyncio.get_running_loop().sock_sendall(client, head.encode())


@pytest.mark.gen_test
@pytest.mark.parametrize("paths", [["/big"], ["/small", "/big"], ["/big", *["/small"] * 500]])
async def test_who_never_reads_is_closed(paths: list[str]) -> None:
    async with serving(SHORT) as (server, port):
        with await connected(port) as client:
            for path in paths:
                await sent(client, path)
            await server.closed.wait()
        assert server._deadlines == {}


@pytest.mark.gen_test
async def test_who_reads_gets_everything_and_leaves_no_deadline() -> None:
    async with serving(LONG) as (server, port):
        fetch = AsyncHTTPClient().fetch
        for path, body in (("/small", b"ok"), ("/big", BIG), ("/small", b"ok")):
            assert (await fetch(f"http://127.0.0.1:{port}{path}")).body == body
        await server.closed.wait()
        assert server._deadlines == {}


@pytest.mark.gen_test
async def test_who_asks_again_and_again_on_one_connection_is_not_closed() -> None:
    """Each request has the time to itself, and what is idle or a WebSocket has no such deadline."""
    async with serving(LONG) as (server, port):
        with await connected(port) as client:
            for _ in range(3):
                await sent(client, "/small")
                while not (await asyncio.get_running_loop().sock_recv(client, 999)).endswith(b"ok"):
                    pass
                assert server._deadlines == {}
            await sent(client, "/ws", **HANDSHAKE)
            assert b"101" in await asyncio.get_running_loop().sock_recv(client, 999)
            assert server._deadlines == {}


def test_who_asks_and_never_reads_holds_no_memory(tmp_path: Path) -> None:
    """Requests that wait behind a response are not read: 20,000 pages would be 60 MB."""
    requests = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
    with running_server(tmp_path) as server, ExitStack() as stack:
        server.request("GET", "/")
        before = server.memory
        for _ in range(20):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=0.3)
            stack.enter_context(client).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with suppress(TimeoutError):  # the server reads no more
                for _ in range(50):
                    client.sendall(requests)
        assert server.request("GET", "/")[0] == 200
        assert server.memory - before < 8 * 2**20
        stack.close()
        server.stop()
        assert "Traceback" not in server.text


class Sockets(WeakSet[object]):
    """Says when one of them is closed."""

    closed: asyncio.Event

    def discard(self, item: object) -> None:
        super().discard(item)
        self.closed.set()


class TestSocketsThatNeverRead(Visits):
    @gen_test(timeout=30)
    @pytest.mark.slow
    async def test_they_are_closed_because_they_answer_no_ping(self) -> None:
        sockets = Sockets()
        sockets.closed = asyncio.Event()
        self._app.settings |= {"sockets": sockets, "websocket_ping_interval": SHORT}
        answer = await self.http_client.fetch(
            self.get_url("/user/login"),
            method="POST",
            body="username=Ada",
            follow_redirects=False,
            raise_error=False,
        )
        with await connected(self.get_http_port()) as client:
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
            await sent(client, "/ws", **HANDSHAKE, Cookie=cookie)
            sending = asyncio.ensure_future(self.flood(client))
            await sockets.closed.wait()
            sending.cancel()
        assert len(sockets) == 0

    async def flood(self, client: socket.socket) -> None:
        while True:
            await asyncio.get_running_loop().sock_sendall(client, TEXT_FRAME * 1000)
