"""One server under load: started, asked by wrk, and its processor time read."""

import http.client
import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.servers import Server

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 30


@dataclass(frozen=True)
class Round:
    """What one run of wrk measured: times in microseconds, processor time for each request."""

    requests_per_second: float
    p50: float
    p99: float
    cpu: float
    round_trips: float | None


@dataclass(frozen=True)
class Target:
    """A server that is up."""

    server: Server
    pid: int
    port: int

    def get(self, path: str) -> "http.client.HTTPResponse":
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}")

    def cookies(self, count: int) -> list[str]:
        """As many sessions, logged in; each as the browser would send it."""
        cookies = []
        for _ in range(count):
            with self.get("/login") as answer:
                answer.read()  # gunicorn waits two seconds for who goes without having read
                cookies.append(answer.headers.get("Set-Cookie", "").partition(";")[0])
        return cookies

    def calls(self) -> int:
        """How often the store was called so far; only ours counts it."""
        return sum(json.load(self.get("/counts")).values()) if self.server.is_ours else 0

    def cpu(self) -> float:
        """Seconds of processor time so far, of all its threads and children."""
        return sum(_ticks(pid) for pid in with_children(self.pid)) / TICKS

    def load(self, path: str, cookies: Sequence[str], connections: int, seconds: float) -> Round:
        calls, cpu = self.calls(), self.cpu()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(HERE / "wrk.lua")]
        done = subprocess.run(
            [*pinned(1), *command, f"http://127.0.0.1:{self.port}{path}"],
            env=os.environ | {"BENCH_COOKIES": "\n".join(cookies)},
            capture_output=True,
            text=True,
            check=True,
        )
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("RESULT "))
        requests, duration, p50, p99, failed, broken = map(int, line.split()[1:])
        if failed or broken or not requests:
            raise RuntimeError(f"{self.server}{path}: {failed} answers failed, {broken} broke off")
        return Round(
            requests_per_second=requests / duration * 1e6,
            p50=p50,
            p99=p99,
            cpu=(self.cpu() - cpu) / requests * 1e6,
            round_trips=(self.calls() - calls) / requests if self.server.is_ours else None,
        )


@contextmanager
def serving(server: Server, *, is_pinned: bool = True) -> Iterator[Target]:
    """The server, up, and kept on one processor if it is pinned."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    place = pinned(0) if is_pinned else []
    with subprocess.Popen([*place, *server.command, str(port)]) as process:
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _is_listening(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{server} did not start")
                time.sleep(0.05)
            yield Target(server, process.pid, port)
        finally:
            process.terminate()


def pinned(place: int) -> list[str]:
    """The command that keeps another on one processor, where there is more than one."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) == 1:
        return []
    return ["taskset", "-c", str(processors[place % len(processors)])]


def _is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def with_children(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from with_children(int(child))


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
