"""One server under load: started, asked by wrk, and its processor time read."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Round:
    """What one run of wrk measured. Times in microseconds."""

    requests_per_second: float
    p50: float
    p99: float
    cpu: float
    round_trips: float


@dataclass(frozen=True)
class Target:
    """A server that is up."""

    name: str
    pid: int
    port: int

    def get(self, path: str) -> "urllib.request.addinfourl":
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}")

    def cookies(self, count: int) -> list[str]:
        """As many sessions, logged in."""
        answers = (self.get("/login") for _ in range(count))
        return [answer.headers.get("Set-Cookie", "").partition(";")[0] for answer in answers]

    def calls(self) -> int:
        return sum(json.load(self.get("/counts")).values())

    def cpu(self) -> float:
        """Seconds of processor time so far, of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def load(self, path: str, cookies: Sequence[str], connections: int, seconds: int) -> Round:
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
            raise RuntimeError(f"{self.name}{path}: {failed} answers failed, {broken} were broken")
        return Round(
            requests_per_second=requests / duration * 1e6,
            p50=p50,
            p99=p99,
            cpu=(self.cpu() - cpu) / requests * 1e6,
            round_trips=(self.calls() - calls) / requests,
        )


@contextmanager
def serving(name: str, kind: str) -> Iterator[Target]:
    """The application on a store, on a processor of its own."""
    command = [*pinned(0), sys.executable, str(HERE / "app.py"), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Target(name, process.pid, int(process.stdout.readline()))
        finally:
            process.terminate()


def pinned(place: int) -> list[str]:
    """The command that keeps another on one processor, where there is more than one."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) == 1:
        return []
    return ["taskset", "-c", str(processors[place % len(processors)])]
