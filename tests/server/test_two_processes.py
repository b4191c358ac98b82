"""Two server processes on one store: nothing is lost, and a client reads its own last write."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from running import Server, running_server
from tornado.httpclient import AsyncHTTPClient

CLIENTS = 50
ROUNDS = 40

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def servers(url_of_module: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    directory = tmp_path_factory.mktemp("servers")
    setting = {"HELLO_TORNADO_STORE__URL": url_of_module}
    with ExitStack() as stack:
        yield [stack.enter_context(running_server(directory, **setting)) for _ in range(2)]


class Client:
    """A browser that asks now this server, now that one."""

    def __init__(self, servers: list[Server], number: int, cookie: str) -> None:
        self._servers = servers
        self._turn = number
        self._cookie = cookie
        self._http = AsyncHTTPClient(force_instance=True)

    async def data(self, path: str, method: str, body: bytes | None = b"") -> Any:
        self._turn += 1
        url = self._servers[self._turn % len(self._servers)].url + path
        headers = {"Cookie": self._cookie}
        response = await self._http.fetch(url, method=method, body=body, headers=headers)
        return json.loads(response.body)["data"]

    def close(self) -> None:
        self._http.close()


def test_every_increment_of_every_client_counts(servers: list[Server]) -> None:
    cookie = servers[0].log_in("Ada")

    async def count(number: int) -> None:
        client, seen = Client(servers, number, cookie), 0
        for _ in range(ROUNDS):
            data = await client.data("/api/session/n/increment", "POST")
            assert data["n"] > seen, "its own last write, and more"
            seen = data["n"]
        client.close()

    async def all_at_once() -> Any:
        await asyncio.gather(*(count(number) for number in range(CLIENTS)))
        client = Client(servers, 0, cookie)
        data = await client.data("/api/session", "GET", None)
        client.close()
        return data

    assert asyncio.run(all_at_once())["n"] == CLIENTS * ROUNDS


def test_parallel_writes_of_different_keys_all_stay(servers: list[Server]) -> None:
    cookie = servers[0].log_in("Ada")

    async def put(number: int) -> None:
        client = Client(servers, number, cookie)
        data = await client.data(f"/api/session/key{number}", "PUT", str(number).encode())
        assert data[f"key{number}"] == number
        assert (await client.data("/api/session", "GET", None))[f"key{number}"] == number
        client.close()

    async def all_at_once() -> Any:
        await asyncio.gather(*(put(number) for number in range(CLIENTS)))
        client = Client(servers, 1, cookie)
        data = await client.data("/api/session", "GET", None)
        client.close()
        return data

    expected = {f"key{number}": number for number in range(CLIENTS)}
    assert asyncio.run(all_at_once()) == {"username": "Ada", **expected}


def test_a_logout_at_one_holds_at_the_other_at_once(servers: list[Server]) -> None:
    first, second = servers
    for here, there in ((first, second), (second, first)):
        cookie = here.log_in("Ada")
        assert "Hello Ada" in there.request("GET", "/", cookie=cookie)[2]
        here.request("POST", "/user/logout", cookie=cookie)
        assert "Hello Ada" not in there.request("GET", "/", cookie=cookie)[2]
        status, headers, _ = there.request("PUT", "/api/session/x", "1", cookie=cookie)
        assert (status, "Set-Cookie" in headers) == (200, False), "it begins no session"
