"""/ws, as a client sees it."""

import json
import socket
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from running import Server, running_server
from socket_frames import CLOSE_FRAME, HANDSHAKE, PING_FRAME, TEXT_FRAME
from tornado.httpclient import HTTPRequest
from tornado.testing import gen_test
from tornado.websocket import WebSocketClientConnection, websocket_connect
from visiting import Visits


class TestSocket(Visits):
    async def connect(self, cookie: str) -> WebSocketClientConnection:
        url = self.get_url("/ws").replace("http", "ws")
        return await websocket_connect(HTTPRequest(url, headers={"Cookie": cookie}))

    async def cookie_of(self, name: str) -> str:
        answer = await self.http_client.fetch(
            self.get_url("/user/login"),
            method="POST",
            body=f"username={name}",
            follow_redirects=False,
            raise_error=False,
        )
        return str(answer.headers["Set-Cookie"].partition(";")[0])

    def test_who_is_not_logged_in_or_comes_from_elsewhere_is_refused(self) -> None:
        assert self.visit("/ws", **HANDSHAKE).code == 403
        self.log_in()
        assert self.visit("/ws", **HANDSHAKE, Origin="https://evil.example").code == 403
        assert self.visit("/ws").code == 400

    @gen_test
    async def test_it_says_how_the_session_stands_and_when_it_has_changed(self) -> None:
        connection = await self.connect(await self.cookie_of("Ada"))
        state = json.loads(await connection.read_message() or "")
        assert state.keys() == {"handle", "user", "expires_at", "expires_in"}
        assert (state["user"], state["expires_in"]) == ("ada", 3600)
        await connection.write_message("and now?")
        assert json.loads(await connection.read_message() or "") == state
        self.clock.advance(minutes=1)
        async with self.manager.transaction(state["handle"]) as session:
            session.touch()
        later = json.loads(await connection.read_message() or "")
        assert later["expires_at"] > state["expires_at"]
        connection.close()

    @gen_test
    async def test_listening_asks_for_all_sockets_at_once_and_moves_nothing(self) -> None:
        connections = [await self.connect(await self.cookie_of("Ada")) for _ in range(5)]
        before = sorted(record.expires_at for record in self.store._store._records.values())
        self.store.calls.clear()
        self.clock.advance(minutes=5)
        await self.manager.watcher.look()
        assert self.store.calls == ["load"]
        after = sorted(record.expires_at for record in self.store._store._records.values())
        assert after == before
        for connection in connections:
            connection.close()


def shaken_hands(server: Server, cookie: str) -> socket.socket:
    """A connection on which a WebSocket has been asked for, and nothing read."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lines = [f"{name}: {value}" for name, value in (HANDSHAKE | {"Cookie": cookie}).items()]
    client.sendall("\r\n".join(["GET /ws HTTP/1.1", "Host: localhost", *lines, "", ""]).encode())
    return client


def test_a_client_that_closes_at_once_leaves_no_traceback(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        cookie = server.log_in("Ada")
        for sent in (b"", CLOSE_FRAME, 50 * TEXT_FRAME):
            for linger in (struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)):  # the second resets
                for _ in range(10):
                    client = shaken_hands(server, cookie)
                    client.sendall(sent)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    client.close()
        assert "Hello Ada" in server.request("GET", "/", cookie=cookie)[2]
        server.stop()
        assert "Traceback" not in server.text
        assert "ERROR" not in server.text


def test_a_server_that_stops_while_messages_wait_leaves_no_traceback(tmp_path: Path) -> None:
    """The messages of a client that is gone are handled one after another, until the end."""
    for _ in range(5):
        with running_server(tmp_path) as server:
            client = shaken_hands(server, server.log_in("Ada"))
            client.settimeout(0.3)
            with suppress(TimeoutError):  # the server reads no more
                for _ in range(400):
                    client.sendall(1000 * TEXT_FRAME)
            client.close()
            server.stop()
            assert "Traceback" not in server.text


@pytest.mark.parametrize("frame", [TEXT_FRAME, PING_FRAME], ids=["texts", "pings"])
def test_a_client_that_never_reads_holds_no_memory(tmp_path: Path, frame: bytes) -> None:
    """400,000 answers of at least 127 bytes would be 50 MB."""
    with running_server(tmp_path) as server:
        cookie = server.log_in("Ada")
        before = server.memory
        client = shaken_hands(server, cookie)
        with suppress(TimeoutError):  # the server reads no more
            for _ in range(400):
                client.sendall(1000 * frame)
        assert server.request("GET", "/", cookie=cookie)[0] == 200
        assert server.memory - before < 4 * 2**20
        client.close()
        server.stop()
        assert "Traceback" not in server.text
