"""What a request costs in instructions: `python -m bench.instructions [STORE…] [--requests 150]`.

valgrind's callgrind counts what the server's process executes, the kernel left out: the same from
run to run within a hundredth, however busy the machine is. One client asks, one request after
another. Prints the instructions that each route adds to a bare request. With `--check` they are
compared with `bench/instructions.json`: a route that costs a tenth more, by its ratio to a bare
request, is an error. `--write` makes that file anew. Needs Debian's package valgrind.
"""

import argparse
import http.client
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from bench.load import serving
from bench.servers import Server, servers_on

BASELINE: Final = Path(__file__).with_suffix(".json")
ROUTES: Final = ("bare", "read", "write", "login", "anonymous")
TOLERANCE: Final = 1.1
WARM_UP: Final = 60  # requests to each route before any is counted
VALGRIND: Final = ("valgrind", "--tool=callgrind", "--instr-atstart=no")


class Client:
    """One connection to the server, on which requests follow each other."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._cookie = self._ask("/login", {})

    def ask(self, route: str, count: int) -> None:
        """Ask for *route* so often, with the cookie of one session where it has to do with one."""
        headers = {"Cookie": self._cookie} if route in {"read", "write"} else {}
        path = "/read" if route == "anonymous" else f"/{route}"
        for _ in range(count):
            self._ask(path, headers)

    def _ask(self, path: str, headers: Mapping[str, str]) -> str:
        self._connection.request("GET", path, headers=dict(headers))
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{path} was answered with {answer.status}")
        return str(answer.headers.get("Set-Cookie", "")).partition(";")[0]

    def close(self) -> None:
        self._connection.close()


def measured(server: Server, requests: int) -> dict[str, int]:
    """The instructions of one request to each route."""
    costs: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as directory:
        out = f"--callgrind-out-file={directory}/out"
        command = (*VALGRIND, out, "--log-file=/dev/null", *server.command)
        with (
            serving(Server(server.name, server.store, command)) as target,
            closing(Client(target.port)) as client,
        ):
            for route in ROUTES:
                client.ask(route, WARM_UP)
            _control(target.pid, "--instr=on")
            for route in ROUTES:
                client.ask(route, 10)
                _control(target.pid, "--zero")
                client.ask(route, requests)
                _control(target.pid, "--dump")
                costs[route] = _newest_total(Path(directory)) // requests
    return costs


def _control(pid: int, verb: str) -> None:
    subprocess.run(["callgrind_control", verb, str(pid)], check=True, capture_output=True)


def _newest_total(directory: Path) -> int:
    newest = max(directory.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    found = re.search(r"^(?:summary|totals): (\d+)", newest.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError("callgrind has counted nothing")
    return int(found[1])


def dearer(costs: Mapping[str, int], before: Mapping[str, int]) -> list[str]:
    """The routes that cost more of a bare request than they did, beyond the tolerance."""
    return [
        route
        for route in ROUTES
        if costs[route] / costs["bare"] > TOLERANCE * before[route] / before["bare"]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions")
    parser.add_argument("stores", nargs="*", default=["memory://"])
    parser.add_argument("--requests", type=int, default=150)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is missing: install Debian's package valgrind")
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    failed = []
    with tempfile.TemporaryDirectory() as directory:
        for url in given.stores:
            (server,) = servers_on(url, Path(directory), with_peers=False)
            costs = measured(server, given.requests)
            before = known.get(server.store)
            for route in ROUTES:
                line = f"{server.store:12} {route:10} {costs[route]:>10,}"
                line += f" {costs[route] - costs['bare']:>+10,}"
                if before is not None:
                    line += f"   before {before[route] - before['bare']:>+10,}"
                print(line, flush=True)
            if before is not None:
                failed += [f"{server.store} {route}" for route in dearer(costs, before)]
            known[server.store] = costs
    if given.write:
        BASELINE.write_text(json.dumps(known, indent=2) + "\n")
    if given.check and failed:
        sys.exit(f"a tenth more instructions than before: {', '.join(failed)}")


if __name__ == "__main__":
    main()
