"""Parallel writes and logouts that race with them, here and on other session libraries.

    python -m bench.faults.side_by_side [STORE…] [--peers]

Each STORE is one of sqlite, postgresql, redis. Every server runs the same two scenarios, with the
same lines in its handlers: 20 sessions get 20 parallel requests each, and each request sets a key
of its own 50 ms after it has read the session; 20 sessions are logged out while such a request is
under way. It prints how many of the 400 keys are missing, and how many of the 20 cookies show a
signed-in session after the logout was answered and the late request has ended.

--peers needs `npm install --prefix bench/peers` and `pip install -e ".[bench]"`.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient

from bench.faults.started import database_of
from bench.load import serving
from bench.servers import PEERS, Server, servers_on

SESSIONS = 20
PARALLEL = 20
WRITE_MILLISECONDS = 50
LATE_MILLISECONDS = 600
LOGOUT_SECONDS = 0.2
STORES = ("sqlite", "postgresql", "redis")


class Client:
    """Asks one server."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"
        self._http = AsyncHTTPClient(force_instance=True, max_clients=1_000)

    async def ask(self, path: str, cookie: str = "") -> Any:
        return await self._http.fetch(
            f"{self._address}{path}",
            headers={"Cookie": cookie} if cookie else {},
            raise_error=False,
            request_timeout=60,
        )

    async def login(self) -> str:
        """The cookie of a new session."""
        answer = await self.ask("/login")
        return str(answer.headers["Set-Cookie"]).partition(";")[0]

    async def session(self, cookie: str) -> dict[str, Any]:
        """What a cookie shows."""
        answer = await self.ask("/session", cookie)
        return json.loads(answer.body) if answer.code == 200 else {}


async def lost_writes(client: Client) -> int:
    """How many of the keys that were set, with an answer of 200, are not there."""

    async def set_all(cookie: str) -> int:
        keys = [f"key{number}" for number in range(PARALLEL)]
        paths = [f"/set?key={key}&after={WRITE_MILLISECONDS}" for key in keys]
        answers = await asyncio.gather(*(client.ask(path, cookie) for path in paths))
        acknowledged = {key for key, one in zip(keys, answers, strict=True) if one.code == 200}
        return len(acknowledged - (await client.session(cookie)).keys())

    return sum([await set_all(await client.login()) for _ in range(SESSIONS)])


async def revived_cookies(client: Client) -> int:
    """How many cookies work again after their logout."""

    async def race(cookie: str) -> bool:
        late = asyncio.create_task(client.ask(f"/set?key=late&after={LATE_MILLISECONDS}", cookie))
        await asyncio.sleep(LOGOUT_SECONDS)
        await client.ask("/logout", cookie)
        await late
        return "username" in await client.session(cookie)

    return sum([await race(await client.login()) for _ in range(SESSIONS)])


async def measure(server: Server) -> str:
    """One line of the table."""
    with serving(server, is_pinned=False) as target:
        client = Client(target.port)
        lost, revived = await lost_writes(client), await revived_cookies(client)
    return (
        f"| {server.name} | {server.store} | {lost} of {SESSIONS * PARALLEL} | "
        f"{revived} of {SESSIONS} |"
    )


async def compare(stores: Sequence[str], *, with_peers: bool) -> None:
    print("| library | store | lost writes | cookies that work after the logout |")
    print("|---|---|--:|--:|")
    for store in stores:
        async with database_of(store, with_twin=False) as (database, _):
            with ExitStack() as stack:
                directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                url = "sqlite://" if store == "sqlite" else database.url(database.leading_port)
                for server in servers_on(url, directory, with_peers=with_peers):
                    print(await measure(server), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults.side_by_side")
    parser.add_argument("stores", nargs="*", default=STORES, help=f"of {', '.join(STORES)}")
    parser.add_argument("--peers", action="store_true", help="and other session libraries")
    given = parser.parse_args()
    if unknown := {*given.stores} - {*STORES}:
        parser.error(f"no such store: {', '.join(unknown)}; there are {', '.join(STORES)}")
    if given.peers and not (PEERS / "node_modules").exists():
        sys.exit("the other libraries are missing: see python -m bench.faults.side_by_side --help")
    asyncio.run(compare(given.stores, with_peers=given.peers))


if __name__ == "__main__":
    main()
