"""A request that holds a session while it is logged out at another server cannot bring it back."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from running import clean_environment, received

from hello_tornado import migrate

DEEDS = ["write", "increment", "renew", "login", "touch", "save"]


class SlowServer:
    """One process of slow_app.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._port = int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def let_go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def send(self, method: str, path: str, cookie: str = "") -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        connection.request(method, path, headers={"Cookie": cookie})
        return connection

    def ask(self, method: str, path: str, cookie: str = "") -> tuple[dict[str, str], Any]:
        status, headers, body = received(self.send(method, path, cookie))
        assert status == 200
        return headers, json.loads(body) if body else None


@contextmanager
def slow_server(url: str) -> Iterator[SlowServer]:
    command = [sys.executable, str(Path(__file__).with_name("slow_app.py")), url]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env=clean_environment()
    ) as process:
        try:
            yield SlowServer(process)
        finally:
            process.kill()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb", "redis", "redis_cluster"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[SlowServer]]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/sessions.db"
    else:
        url = request.getfixturevalue(f"{request.param}_url")
    if not request.param.startswith("redis"):
        migrate.upgrade(url)
    with ExitStack() as stack:
        yield [stack.enter_context(slow_server(url)) for _ in range(2)]


def test_no_slow_request_revives_a_session_that_another_server_ended(
    servers: list[SlowServer],
) -> None:
    for here, there in (servers, reversed(servers)):
        for deed in DEEDS:
            cookie = here.ask("POST", "/login")[0]["Set-Cookie"].partition(";")[0]
            slow = here.send("POST", f"/slow/{deed}", cookie)
            assert here.line() == deed, "it holds the session"
            there.ask("POST", "/logout", cookie)
            here.let_go()
            status, headers, _ = received(slow)
            given = headers.get("Set-Cookie", "").partition(";")[0]
            assert status == 200, deed
            for server in servers:
                for offered in {cookie, given}:
                    found = server.ask("GET", "/who", offered)[1]
                    assert found == {"user": None, "data": {}}, deed


def test_a_slow_request_keeps_what_it_wrote_while_others_wrote_elsewhere(
    servers: list[SlowServer],
) -> None:
    here, there = servers
    cookie = here.ask("POST", "/login")[0]["Set-Cookie"].partition(";")[0]
    slow = [server.send("POST", "/slow/increment", cookie) for server in servers]
    assert [server.line() for server in servers] == ["increment", "increment"]
    for server in servers:
        server.let_go()
    assert {received(one)[0] for one in slow} == {200}
    assert there.ask("GET", "/who", cookie)[1]["data"] == {"n": 2}
