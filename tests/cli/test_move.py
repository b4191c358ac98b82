"""Sessions move to another store under running servers, and nobody is logged out."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from running import Server, run_command, running_server
from tornado.httpclient import AsyncHTTPClient

VISITORS = 40
OLD = "sqlite:///var/sessions.db"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=["postgresql", "redis_cluster"])
def new(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of the new store, ready."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    if request.param == "postgresql":
        assert run_command(tmp_path, "db", "upgrade", "--store", url).returncode == 0
    return url


@contextmanager
def servers(directory: Path, count: int, **settings: str) -> Iterator[list[Server]]:
    environment = {f"HELLO_TORNADO_STORE__{name.upper()}": url for name, url in settings.items()}
    with ExitStack() as stack:
        yield [stack.enter_context(running_server(directory, **environment)) for _ in range(count)]


class Visitor:
    """Somebody whose requests go now to this server, now to that one."""

    def __init__(self, cookie: str) -> None:
        self.cookie = cookie
        self.count = 0

    async def increment(self, http: AsyncHTTPClient, server: Server) -> None:
        url = f"{server.url}/api/session/n/increment"
        headers = {"Cookie": self.cookie}
        response = await http.fetch(url, method="POST", body=b"", headers=headers)
        self.count += 1
        assert json.loads(response.body)["data"]["n"] == self.count

    def data(self, server: Server) -> Any:
        _, _, body = server.request("GET", "/api/session", cookie=self.cookie)
        return json.loads(body)["data"]


async def in_use_while_it_moves(
    visitors: list[Visitor], both: list[Server], directory: Path, new: str
) -> str:
    """Each visitor increments again and again until the command is done; what that printed."""
    http = AsyncHTTPClient(force_instance=True, max_clients=VISITORS)
    environment = {"HELLO_TORNADO_STORE__MOVING_FROM": OLD}
    environment |= {"HELLO_TORNADO_STORE__URL": new}
    moving = asyncio.ensure_future(
        asyncio.to_thread(run_command, directory, "sessions", "move", **environment)
    )

    async def visit(number: int, visitor: Visitor) -> None:
        while not moving.done() or visitor.count < 8:
            await visitor.increment(http, both[(number + visitor.count) % 2])

    await asyncio.gather(*(visit(number, one) for number, one in enumerate(visitors)))
    http.close()
    done = await moving
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sessions_in_use_move_and_a_logout_is_final(tmp_path: Path, new: str) -> None:
    with servers(tmp_path, 1, url=OLD) as (server,):
        visitors = [Visitor(server.log_in(f"Visitor {number}")) for number in range(VISITORS)]
    resting, leaving, *moving = visitors
    with servers(tmp_path, 2, url=new, moving_from=OLD) as both:
        assert leaving.data(both[0]) == {"username": "Visitor 1"}
        both[0].request("POST", "/user/logout", {}, cookie=leaving.cookie)
        assert leaving.data(both[1]) == {}
        said = asyncio.run(in_use_while_it_moves(moving, both, tmp_path, new))
        assert "the old store is empty" in said
        assert leaving.data(both[0]) == leaving.data(both[1]) == {}
    with servers(tmp_path, 1, url=new) as (server,):
        assert resting.data(server) == {"username": "Visitor 0"}
        assert leaving.data(server) == {}
        for number, visitor in enumerate(moving, 2):
            assert visitor.data(server) == {"username": f"Visitor {number}", "n": visitor.count}


def test_a_copy_takes_all_and_writes_over_nothing(tmp_path: Path, new: str) -> None:
    with servers(tmp_path, 1, url=OLD) as (server,):
        ada = Visitor(server.log_in("Ada"))
    copy = ("sessions", "copy", OLD, new)
    assert run_command(tmp_path, *copy).stdout == "1 record copied\n"
    with servers(tmp_path, 1, url=new) as (server,):
        asyncio.run(once(ada, server))
    done = run_command(tmp_path, *copy)
    assert done.stdout == "0 records copied\n1 record skipped: already in the new store\n"
    with servers(tmp_path, 1, url=new) as (server,):
        assert ada.data(server) == {"username": "Ada", "n": 1}


async def once(visitor: Visitor, server: Server) -> None:
    http = AsyncHTTPClient(force_instance=True)
    await visitor.increment(http, server)
    http.close()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("move",), "store.moving_from is not set"),
        (("copy", OLD, OLD), "both URLs are the same"),
        (("copy", "memory://", OLD), "no command can read it"),
        (("copy", "sqlite:///nowhere.db", OLD), "there is no database nowhere.db"),
    ],
)
def test_what_cannot_be_moved_is_refused(
    tmp_path: Path, command: tuple[str, ...], says: str
) -> None:
    assert run_command(tmp_path, "db", "upgrade").returncode == 0
    done = run_command(tmp_path, "sessions", *command)
    assert done.returncode in {2, 4}
    assert says in done.stderr


def test_a_move_from_the_store_itself_is_refused(tmp_path: Path) -> None:
    environment = {"HELLO_TORNADO_STORE__MOVING_FROM": OLD, "HELLO_TORNADO_STORE__URL": OLD}
    done = run_command(tmp_path, "config", "check", **environment)
    assert done.returncode == 2
    assert "moving_from is the URL of the new store" in done.stderr
