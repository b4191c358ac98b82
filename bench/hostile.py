"""What the worst request that the server accepts costs, beside an ordinary one.

    python bench/hostile.py [ROUNDS]

starts a server of its own on SQLite, sends each kind of request over one connection, in turns, and
prints the CPU time that the server spent on one (medians over the rounds), its ratio to the
ordinary page, and how much memory it holds afterwards. Linux only: both come from /proc.
"""

import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

TIMES = 40
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Kind(NamedTuple):
    """One kind of request."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None


@contextmanager
def server() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server, and its port."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "hello_tornado", "serve", "--port", "0"]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        log = (Path(directory) / "log").open("w")
        with subprocess.Popen(
            command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"listening http://[^/]*:(\d+)/", line):
                    break
            else:
                raise RuntimeError("the server did not start")
            try:
                yield process, int(found[1])
            finally:
                process.terminate()
                log.close()


def kinds(cookie: str) -> dict[str, Kind]:
    """An ordinary page first, then whatever is dear."""
    small_cookies = "; ".join(f"c{n}=1" for n in range(1_700))
    forged = "; ".join(["session=" + cookie.partition("=")[2][:-1] + "x"] * 4)
    deep = b"[" * 500_000
    wide = json.dumps({str(n): n for n in range(50_000)}).encode()
    narrower = json.dumps({str(n): n for n in range(4_200)}).encode()
    json_type = {"Cookie": cookie, "Content-Type": "application/json"}
    form = b"&".join(b"a%d=1" % n for n in range(900)) + b"&username=Ada"
    return {
        "ordinary page": Kind("GET", "/", {"Cookie": cookie}),
        "login": Kind("POST", "/user/login", {"Cookie": cookie}, b"username=Ada"),
        "15 KiB of small cookies": Kind("GET", "/", {"Cookie": small_cookies[:15_000]}),
        "four forged cookies": Kind("GET", "/", {"Cookie": forged}),
        "900 headers": Kind("GET", "/", {f"X-{n}": "1" for n in range(900)}),
        "900 form fields": Kind("POST", "/user/login", {"Cookie": cookie}, form),
        "900 arguments": Kind("GET", "/?" + "&".join(f"a{n}=1" for n in range(900))),
        "deep JSON, 500 KB": Kind("PUT", "/api/session/x", json_type, deep),
        "wide JSON, 0.9 MB": Kind("PUT", "/api/session/x", json_type, wide),
        "wide JSON, 60 KB": Kind("PUT", "/api/session/x", json_type, narrower),
        "a text of 60 KB stored": Kind(
            "PUT", "/api/session/x", json_type, json.dumps("x" * 60_000).encode()
        ),
    }


def cpu_seconds(pid: int) -> float:
    """What the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int) -> float:
    """What it holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20


def send(connection: http.client.HTTPConnection, kind: Kind, times: int) -> int:
    """The status of the last of so many."""
    status = 0
    for _ in range(times):
        headers = dict(kind.headers)
        if kind.path == "/user/login":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(kind.method, kind.path, kind.body, headers)
        response = connection.getresponse()
        response.read()
        status = response.status
    return status


def main(rounds: int) -> None:
    """Measure and print."""
    with server() as (process, port):
        login = http.client.HTTPConnection("127.0.0.1", port)
        login.request(
            "POST",
            "/user/login",
            b"username=Ada",
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        cookie = str(login.getresponse().headers["Set-Cookie"]).partition(";")[0]
        requests = kinds(cookie)
        costs: dict[str, list[float]] = {name: [] for name in requests}
        statuses: dict[str, int] = {}
        before = resident_mib(process.pid)
        for _ in range(rounds):
            for name, kind in requests.items():
                connection = http.client.HTTPConnection("127.0.0.1", port)
                start = cpu_seconds(process.pid)
                statuses[name] = send(connection, kind, TIMES)
                costs[name].append((cpu_seconds(process.pid) - start) / TIMES)
                connection.close()
        ordinary = statistics.median(costs["ordinary page"])
        print(f"{'request':26} {'status':>6} {'CPU ms':>8} {'ratio':>7}")
        for name, measured in costs.items():
            cost = statistics.median(measured)
            print(f"{name:26} {statuses[name]:6} {cost * 1e3:8.2f} {cost / ordinary:7.1f}")
        print(f"memory: {before:.0f} MiB before, {resident_mib(process.pid):.0f} MiB after")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
