"""`bokeh serve` and `panel serve` as processes of their own, and visitors without a browser."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from running import Server, clean_environment, reading
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClientConnection, websocket_connect

EXAMPLE = Path(__file__).parent.parent.parent.parent / "examples/bokeh"
SECRET = "a secret of these tests, long enough"
PROGRAMS = {
    "bokeh": ("-m", "bokeh", "serve"),
    "panel": ("-m", "panel", "serve"),
}


@contextmanager
def serving(
    directory: Path, *arguments: str, program: str = "bokeh", auth: str | None = None
) -> Iterator[Server]:
    """`bokeh serve` with the example's auth module, or with another one, in *directory*."""
    module = EXAMPLE / "auth.py"
    if auth is not None:
        module = directory / "own_auth.py"
        module.write_text(auth, encoding="utf-8")
    process = subprocess.Popen(
        [
            *(sys.executable, *PROGRAMS[program], *arguments),
            *("--auth-module", str(module), "--port", "0", "--log-format=%(process)d %(message)s"),
        ],
        cwd=directory,
        env=clean_environment() | {"SESSION_SECRET": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # the processes that it forks are ended with it
    )
    with reading(process, partial(os.killpg, process.pid)) as server:
        server.port = int(server.wait_for(r"app running at: http://[^:]*:(\d+)/")[1])
        server.wait_for("Starting Bokeh server with process id")
        yield server


def auth_with(manager: str, more: str = "") -> str:
    """The example's auth module with another manager."""
    text = (EXAMPLE / "auth.py").read_text(encoding="utf-8")
    assert "BokehSessions(url, " in text
    imports = "from hello_tornado.sessions import *\nfrom datetime import timedelta\n"
    return imports + text.replace("BokehSessions(url, ", f"BokehSessions({manager}, {more}")


def home(server: Server) -> str:
    return f"http://localhost:{server.port}"  # Bokeh's sockets are for that origin


class Visitor:
    """Somebody who speaks HTTP and WebSocket, and keeps cookies."""

    def __init__(self, server: Server, app: str = "/app") -> None:
        self.server = server
        self.app = app
        self.cookies: dict[str, str] = {}

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    async def ask(
        self, path: str, form: dict[str, str] | None = None, **headers: str
    ) -> HTTPResponse:
        body = None if form is None else urlencode(form)
        answer = await AsyncHTTPClient().fetch(
            home(self.server) + path,
            method="GET" if form is None else "POST",
            body=body,
            headers={"Cookie": self.cookie} | headers,
            follow_redirects=False,
            raise_error=False,
        )
        for header in answer.headers.get_list("Set-Cookie"):
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    async def send(self, path: str, **form: str) -> HTTPResponse:
        """Send the form of a page, with its token."""
        page = await self.ask(path)
        found = re.search(r'name="_xsrf" value="([^"]+)"', page.body.decode())
        assert found, page.body
        return await self.ask(path, form | {"_xsrf": found[1]})

    async def log_in(self, name: str, password: str) -> HTTPResponse:
        return await self.send("/login", username=name, password=password, next=self.app)

    async def token(self, path: str = "", **headers: str) -> str:
        page = await self.ask(path or self.app, **headers)
        found = re.search(r'"token":"([^"]+)"', page.body.decode())
        assert found, (page.code, page.body)
        return found[1]

    async def socket(self, token: str | None = None, path: str = "") -> WebSocketClientConnection:
        request = HTTPRequest(
            home(self.server).replace("http:", "ws:") + (path or f"{self.app}/ws"),
            headers={"Cookie": self.cookie, "Origin": home(self.server)},
        )
        subprotocols = ["bokeh", token or await self.token()]
        return await websocket_connect(request, subprotocols=subprotocols)


async def ada(server: Server, app: str = "/app") -> Visitor:
    visitor = Visitor(server, app)
    assert (await visitor.log_in("ada", "lovelace")).code == 303
    return visitor


async def until_closed(connection: WebSocketClientConnection) -> tuple[float, int | None]:
    """When a socket was closed, and with which code."""
    while await connection.read_message() is not None:
        pass
    moment = time.monotonic()
    connection.close()  # or Tornado would warn that it was not
    return moment, connection.close_code


async def close(*connections: WebSocketClientConnection) -> None:
    for connection in connections:
        connection.close()
        await until_closed(connection)


async def sockets_in_both_processes(
    visitor: Visitor, token: str | None = None
) -> list[WebSocketClientConnection]:
    """Open sockets until each of the two processes has one, of one document or of several.

    Which process accepts a connection is up to the system, and on a quiet machine it is always the
    same one. So that one stands still while the second socket is opened.
    """
    before = len(processes(visitor.server))
    found = [await open_socket(visitor, token)]
    while len(processes(visitor.server)) == before:  # noqa: ASYNC110 - a thread reads the line
        await asyncio.sleep(0.01)
    first = int(processes(visitor.server)[-1])
    while len({*processes(visitor.server)[before:]}) < 2:
        assert len(found) < 100
        os.kill(first, signal.SIGSTOP)
        try:
            found.append(await open_socket(visitor, token))
        finally:
            os.kill(first, signal.SIGCONT)
    return found


async def open_socket(visitor: Visitor, token: str | None) -> WebSocketClientConnection:
    """A socket of which part of Bokeh's ACK has arrived: it is open."""
    opened = await visitor.socket(token)
    assert await opened.read_message()
    return opened


def processes(server: Server) -> list[str]:
    """The process of each socket that was opened so far."""
    return re.findall(r"(\d+) ServerConnection created", server.text)


def url_of(directory: Path) -> str:
    return f"sqlite:///{directory}/sessions.db"
