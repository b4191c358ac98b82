"""`jupyter server` and `voila` as processes of their own, and visitors without a browser."""

import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from running import Server, clean_environment, free_port, reading, wait_until_it_listens
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClientConnection, websocket_connect

EXAMPLE = Path(__file__).parent.parent.parent.parent / "examples/jupyter"
CONFIG = EXAMPLE / "jupyter_server_config.py"
# Other packages that are installed for the tests extend the server; they only make it slower.
EXTENSIONS = tuple(
    f"--ServerApp.jpserver_extensions={name}=False"
    for name in ("panel.io.jupyter_server_extension", "voila.server_extension")
)
JUPYTER = ("-m", "jupyter", "server", "--allow-root", "--no-browser", "--port-retries=0")
VOILA = ("-c", "from voila.app import main; main()", "--no-browser")
HTML = {"Accept": "text/html,application/xhtml+xml"}
PASSWORDS = {"ada": "lovelace", "grace": "hopper"}


@contextmanager
def serving(
    directory: Path, *arguments: str, config: str | None = None, port: int | None = None
) -> Iterator[Server]:
    """`jupyter server` in *directory*, with the example's settings and more of them: *config*."""
    path = CONFIG
    if config is not None:
        path = directory / f"config_{uuid.uuid4().hex}.py"
        path.write_text(CONFIG.read_text(encoding="utf-8") + config, encoding="utf-8")
    options = (*JUPYTER, f"--config={path}", *EXTENSIONS)
    with started(directory, *options, *arguments, port=port) as server:
        server.wait_for("Use Control-C to stop this server")
        wait_until_it_listens(server.port)  # jupyter says so a moment earlier
        yield server


@contextmanager
def started(directory: Path, *command: str, port: int | None = None) -> Iterator[Server]:
    """Python with a *command*, in *directory*, which is its home, too; stopped at the end."""
    port = port or free_port()
    process = subprocess.Popen(
        [sys.executable, *command, f"--port={port}"],
        cwd=directory,
        env=environment(directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with reading(process) as server:
        server.port = port
        yield server


def environment(directory: Path) -> dict[str, str]:
    ours = {name: text for name, text in clean_environment().items() if "JUPYTER" not in name}
    return ours | {"HOME": str(directory), "PYTHONWARNINGS": "default"}


def home(server: Server) -> str:
    return f"http://localhost:{server.port}"


class Visitor:
    """Somebody who speaks HTTP and WebSocket, and keeps cookies."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cookies: dict[str, str] = {}

    @property
    def session_cookie(self) -> str:
        """The names of the session cookies that the visitor has, with their values."""
        return "; ".join(
            f"{name}={value}" for name, value in self.cookies.items() if name != "_xsrf"
        )

    def at(self, server: Server) -> "Visitor":
        """The same browser at another server."""
        other = Visitor(server)
        other.cookies = self.cookies
        return other

    def headers(self, **more: str) -> dict[str, str]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        base = home(self.server)
        return {"Cookie": cookie, "Origin": base, "Referer": f"{base}/"} | more

    async def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> HTTPResponse:
        answer = await AsyncHTTPClient().fetch(
            home(self.server) + path,
            method=method,
            body=body,
            headers=self.headers(**headers),
            follow_redirects=False,
            raise_error=False,
            allow_nonstandard_methods=True,
        )
        for header in answer.headers.get_list("Set-Cookie"):
            name, _, value = header.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    async def page(self, path: str) -> HTTPResponse:
        return await self.ask(path, **HTML)

    async def api(self, path: str, method: str = "GET", body: Any = None) -> HTTPResponse:
        """Call the API as pages do, with the XSRF token in a header."""
        text = None if body is None else json.dumps(body)
        token = {"X-XSRFToken": self.cookies["_xsrf"]} if "_xsrf" in self.cookies else {}
        return await self.ask(path, method, text, **token)

    async def send(self, path: str, **form: str) -> HTTPResponse:
        """Send the form of a page, with its token."""
        page = await self.page(path)
        found = re.search(r'name="_xsrf" value="([^"]+)"', page.body.decode())
        assert found, (page.code, page.body)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.ask(path, "POST", urlencode(form | {"_xsrf": found[1]}), **kind)

    async def log_in(self, name: str = "ada", next_page: str = "") -> HTTPResponse:
        query = f"?{urlencode({'next': next_page})}" if next_page else ""
        return await self.send(f"/login{query}", username=name, password=PASSWORDS[name])

    async def me(self) -> str | None:
        """The name by which the server knows the visitor; None when it refuses the request."""
        answer = await self.api("/api/me")
        if answer.code == 403:
            return None
        assert answer.code == 200, (answer.code, answer.body)
        return str(json.loads(answer.body)["identity"]["display_name"])

    async def socket(self, path: str) -> WebSocketClientConnection:
        address = home(self.server).replace("http:", "ws:") + path
        return await websocket_connect(HTTPRequest(address, headers=self.headers()))

    async def start_kernel(self) -> str:
        answer = await self.api("/api/kernels", "POST", {"name": "python3"})
        assert answer.code == 201, (answer.code, answer.body)
        return str(json.loads(answer.body)["id"])

    async def kernel_socket(self, kernel: str) -> WebSocketClientConnection:
        return await self.socket(f"/api/kernels/{kernel}/channels?session_id={uuid.uuid4().hex}")


async def logged_in(server: Server, name: str = "ada") -> Visitor:
    visitor = Visitor(server)
    assert (await visitor.log_in(name)).code == 302
    return visitor


async def run(connection: WebSocketClientConnection, code: str) -> str:
    """Run *code* in the kernel of a socket; returns what it prints."""
    asked = uuid.uuid4().hex
    await connection.write_message(
        json.dumps(
            {
                "channel": "shell",
                "header": {
                    "msg_id": asked,
                    "msg_type": "execute_request",
                    "session": "tests",
                    "username": "ada",
                    "version": "5.3",
                },
                "parent_header": {},
                "metadata": {},
                "content": {"code": code, "silent": False},
            }
        )
    )
    while (message := await connection.read_message()) is not None:
        told = json.loads(message)
        if told["msg_type"] == "stream" and told["parent_header"]["msg_id"] == asked:
            return str(told["content"]["text"])
    raise AssertionError("the socket was closed")


async def until_closed(connection: WebSocketClientConnection) -> tuple[float, int | None, str]:
    """When a socket was closed, with which code, and why."""
    while await connection.read_message() is not None:
        pass
    moment = time.monotonic()
    connection.close()  # or Tornado would warn that it was not
    return moment, connection.close_code, connection.close_reason or ""
