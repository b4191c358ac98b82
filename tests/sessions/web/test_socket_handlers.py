"""A WebSocket handler reads the session when it opens, and writes it message by message."""

import json

import pytest
from fakes import FakeStore
from styles import Browser, Routes
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from hello_tornado.sessions import WebSocketSessionMixin
from hello_tornado.sessions.errors import (
    ReadOnly,
)
from hello_tornado.sessions.records.lifetimes import system_clock

pytestmark = [pytest.mark.usefixtures("instrumented"), pytest.mark.gen_test]


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


ROUTES: Routes = {
    "/socket": Socket,
    "/counting-socket": CountingSocket,
}


async def test_a_cookie_rides_on_the_101_of_a_websocket(browser: Browser, store: FakeStore) -> None:
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


async def test_a_websocket_reads_the_session_and_writes_message_by_message(
    browser: Browser, store: FakeStore
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
