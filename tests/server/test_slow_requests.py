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


@contextmanager
def two_servers(url: str) -> Iterator[list[SlowServer]]:
    with ExitStack() as stack:
        yield [stack.enter_context(slow_server(url)) for _ in range(2)]


@pytest.fixture(scope="module")
def servers(url_of_module: str) -> Iterator[list[SlowServer]]:
    with two_servers(url_of_module) as started:
        yield started


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


def test_of_two_that_want_it_to_themselves_one_waits_whatever_its_server(
    servers: list[SlowServer],
) -> None:
    here, there = servers
    cookie = here.ask("POST", "/login")[0]["Set-Cookie"].partition(";")[0]
    holding = here.send("POST", "/exclusive/hold", cookie)
    assert here.line() == "holds it"
    status, headers, _ = received(there.send("POST", "/exclusive/count?wait=0.2", cookie))
    assert (status, headers["Retry-After"]) == (503, "5")
    assert there.ask("GET", "/who", cookie)[1]["user"] == "ada", "others do not wait"
    waiting = there.send("POST", "/exclusive/count", cookie)
    here.let_go()
    assert [json.loads(received(one)[2]) for one in (holding, waiting)] == [{"n": 1}, {"n": 2}]


def test_many_that_want_it_to_themselves_lose_nothing(servers: list[SlowServer]) -> None:
    """A read and a write with something in between, which merging alone could not put right."""
    cookie = servers[0].ask("POST", "/login")[0]["Set-Cookie"].partition(";")[0]
    sent = [server.send("POST", "/exclusive/count", cookie) for server in servers * 10]
    assert sorted(json.loads(received(one)[2])["n"] for one in sent) == list(range(1, 21))


def test_who_dies_with_the_lease_keeps_the_others_out_only_until_it_is_over(
    url_of_module: str,
) -> None:
    with two_servers(url_of_module) as (here, there):
        cookie = here.ask("POST", "/login")[0]["Set-Cookie"].partition(";")[0]
        here.send("POST", "/exclusive/hold", cookie)
        assert here.line() == "holds it"
        here.process.kill()
        assert there.ask("POST", "/exclusive/count", cookie)[1] == {"n": 1}
