"""A server that stops answers what it has carried out, whatever its clients do meanwhile."""

import asyncio
import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from running import Server, forget, received, running_server
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from hello_tornado.connections import PoliteServer

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
CLIENTS = 16


@pytest.fixture(autouse=True)
def hangups_are_heard() -> Iterator[None]:
    """The server inherits what this process does at a hangup; under nohup that is nothing."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


class KeptConnection:
    """A client that sends one request after the other on one connection."""

    def __init__(self, server: Server, cookie: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        self._cookie = cookie
        self.answered = 0
        self.unanswered = 0
        self.was_told = False

    def increment_until_closed(self, is_busy: Event) -> None:
        with closing(self._connection):
            while not self.was_told:
                try:
                    self._connection.request(
                        "POST", "/api/session/n/increment", headers={"Cookie": self._cookie}
                    )
                    response = self._connection.getresponse()
                    response.read()
                except (OSError, http.client.HTTPException):
                    self.unanswered += 1
                    return
                assert response.status == 200
                self.answered += 1
                self.was_told = response.getheader("Connection") == "close"
                if self.answered == 5:
                    is_busy.set()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.slow
def test_nothing_that_was_carried_out_goes_unanswered(
    tmp_path: Path, number: signal.Signals, processes: str
) -> None:
    """Each client has a session of its own, and counts the answers that it gets."""
    arguments = ("--port", "0", "--processes", processes)
    with running_server(tmp_path, *arguments) as server, ThreadPoolExecutor(CLIENTS) as pool:
        cookies = [server.log_in(f"user {n}") for n in range(CLIENTS)]
        clients = [KeptConnection(server, cookie) for cookie in cookies]
        is_busy = [Event() for _ in clients]
        done = [
            pool.submit(client.increment_until_closed, busy)
            for client, busy in zip(clients, is_busy, strict=True)
        ]
        assert all(busy.wait(20) for busy in is_busy)
        assert server.stop(number) == 0
        for one in done:
            one.result()
        assert "did not end" not in server.text
    # The server may close an idle connection at the moment at which the client sends; then it
    # has not carried the request out.
    assert all(client.was_told or client.unanswered == 1 for client in clients)
    with running_server(tmp_path) as server:
        for client, cookie in zip(clients, cookies, strict=True):
            data = json.loads(server.request("GET", "/api/session", cookie=cookie)[2])["data"]
            assert data["n"] == client.answered


REQUEST = b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"


class Count(RequestHandler):
    def initialize(self, carried_out: list[int]) -> None:
        self._carried_out = carried_out

    def post(self) -> None:
        self._carried_out.append(1)
        self.write("ok")


class Client:
    """Sends a request, reads the answer, and sends another one."""

    async def connect(self, port: int) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._writer.write(REQUEST)
        await self._reader.readuntil(b"ok")

    def send(self) -> None:
        self._writer.write(REQUEST)

    async def answers(self) -> int:
        try:
            return 1 + (await self._reader.read()).count(b"ok")
        except ConnectionResetError:
            return 1
        finally:
            await forget(self._writer)


def counting() -> tuple[PoliteServer, int, list[int]]:
    carried_out: list[int] = []
    server = PoliteServer(Application([("/count", Count, {"carried_out": carried_out})]))
    listening, port = bind_unused_port()
    server.add_socket(listening)
    return server, port, carried_out


@pytest.mark.gen_test
async def test_at_every_turn_of_a_drain_what_was_carried_out_is_answered() -> None:
    """Each turn of the event loop brings the next request of another connection."""
    server, port, carried_out = counting()
    clients = [Client() for _ in range(24)]
    for client in clients:
        await client.connect(port)
    for client in clients[:6]:
        client.send()
        await asyncio.sleep(0)
    draining = asyncio.ensure_future(server.drain())
    for client in clients[6:]:
        client.send()
        await asyncio.sleep(0)
    await draining
    assert sum([await client.answers() for client in clients]) == len(carried_out)


@pytest.mark.gen_test
@pytest.mark.parametrize("turns", range(16))
async def test_a_connection_makes_no_room_when_its_request_has_come(turns: int) -> None:
    server, port, carried_out = counting()
    server.limit(1)
    client = Client()
    await client.connect(port)
    client.send()
    for _ in range(turns):
        await asyncio.sleep(0)
    _, newcomer = await asyncio.open_connection("127.0.0.1", port)
    await forget(newcomer)
    await server.drain()
    assert await client.answers() == len(carried_out)


@pytest.fixture
def stopping(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path) as server:
        yield server


def test_what_the_kernel_has_received_is_answered(stopping: Server) -> None:
    """The requests arrive while the server stands still, together with the signal."""
    os.kill(stopping.process.pid, signal.SIGSTOP)
    sent = [stopping.send("GET", "/healthz") for _ in range(20)]
    stopping.process.send_signal(signal.SIGTERM)
    os.kill(stopping.process.pid, signal.SIGCONT)
    for connection in sent:
        assert received(connection)[0] == 200
    assert stopping.process.wait(20) == 0


def test_pipelined_requests_that_were_carried_out_are_answered(
    stopping: Server, tmp_path: Path
) -> None:
    cookie = stopping.log_in("Ada")
    request = (
        "POST /api/session/n/increment HTTP/1.1\r\nHost: localhost\r\n"
        f"Cookie: {cookie}\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", stopping.port), timeout=20) as client:
        client.sendall(request * 200)
        answers = client.recv(1 << 16)
        stopping.process.send_signal(signal.SIGTERM)
        with closing(client.makefile("rb")) as rest:
            try:
                while chunk := rest.read1(1 << 16):
                    answers += chunk
            except ConnectionResetError:
                pass  # the requests that were not carried out
    assert stopping.process.wait(20) == 0
    assert answers.count(b"Connection: close") == 1
    count = answers.count(b"HTTP/1.1 200")
    assert f'"n": {count}}}'.encode() in answers
    with running_server(tmp_path) as server:
        data = json.loads(server.request("GET", "/api/session", cookie=cookie)[2])["data"]
    assert data["n"] == count


def test_idle_and_half_sent_requests_keep_no_server_from_stopping(stopping: Server) -> None:
    with (
        socket.create_connection(("127.0.0.1", stopping.port), timeout=20) as silent,
        socket.create_connection(("127.0.0.1", stopping.port), timeout=20) as slow,
    ):
        slow.sendall(b"GET / HTTP/1.1\r\nHost: local")
        assert stopping.request("GET", "/healthz")[0] == 200
        assert stopping.stop() == 0
        assert silent.recv(1) == slow.recv(1) == b""
    assert "did not end" not in stopping.text


def test_with_nohup_a_hangup_stays_ignored(tmp_path: Path) -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited by the server
    try:
        with running_server(tmp_path) as server:
            server.process.send_signal(signal.SIGHUP)
            assert server.request("GET", "/healthz")[0] == 200
            assert server.stop() == 0
    finally:
        signal.signal(signal.SIGHUP, previous)
