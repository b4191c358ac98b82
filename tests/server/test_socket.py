"""/ws, as a client sees it."""

import json

from tornado.httpclient import HTTPRequest
from tornado.testing import gen_test
from tornado.websocket import WebSocketClientConnection, websocket_connect
from visiting import Visits

HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


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
        session = await self.manager.find(state["handle"])
        assert session is not None
        session.touch()
        await self.manager.commit(session)
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
