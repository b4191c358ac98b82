"""A store that hangs under a server: 503 in time, public pages all the same, then recovery."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from administrators import Mariadb, Postgresql, RedisServer
from every_store import UrlOf
from running import running_server
from services import redis_node

IN_TIME = 3 + 2  # seconds: the limit, and what a busy machine adds
RECOVERED = 2 + 2  # likewise


@pytest.fixture(params=["postgresql", "mariadb", "redis"])
def administrator(
    request: pytest.FixtureRequest, url_of: UrlOf
) -> Iterator[Postgresql | Mariadb | RedisServer]:
    if request.param == "redis":
        with redis_node() as port:
            yield RedisServer(f"redis://127.0.0.1:{port}")
        return
    url = url_of(request.param)
    yield Postgresql(url) if request.param == "postgresql" else Mariadb(url)


def test_a_hung_store_is_a_503_in_time_and_the_server_recovers(
    administrator: Postgresql | Mariadb | RedisServer, tmp_path: Path
) -> None:
    with running_server(tmp_path, HELLO_TORNADO_STORE__URL=administrator.url) as server:
        cookie = server.log_in("Ada")
        with administrator.locked(), ThreadPoolExecutor(9) as pool:
            started = time.monotonic()
            waiting = [pool.submit(server.request, "GET", "/", cookie=cookie) for _ in range(8)]
            waiting.append(pool.submit(server.request, "POST", "/user/login", {"username": "Bob"}))
            for _ in range(20):
                assert server.request("GET", "/healthz")[0] == 200
                assert server.request("GET", "/")[0] == 200, "who has no cookie needs no store"
            assert not any(one.done() for one in waiting), "the public pages were faster"
            answers = [one.result() for one in waiting]
            assert time.monotonic() - started < IN_TIME
        assert {status for status, _, _ in answers} == {503}
        assert all(headers["Retry-After"] for _, headers, _ in answers)
        assert not any("Set-Cookie" in headers for _, headers, _ in answers)
        recovered = time.monotonic() + RECOVERED
        while server.request("GET", "/", cookie=cookie)[0] == 503:
            assert time.monotonic() < recovered
        assert "Hello Ada" in server.request("GET", "/", cookie=cookie)[2]
        while server.request("PUT", "/api/session/a", "1", cookie=cookie)[0] == 503:
            assert time.monotonic() < recovered
