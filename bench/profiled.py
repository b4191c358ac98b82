"""Where each microsecond of a request goes: `python -m bench.profiled [STORE] [--seconds 10]`.

py-spy looks at the server a thousand times a second while wrk asks it with 32 connections. A sample
counts for the file of ours, Tornado's or asyncio's that was innermost; the processor time of a
request is divided in these proportions. Needs wrk, py-spy, and the right to look at a process.
"""

import argparse
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.load import Target, serving
from bench.servers import servers_on

ROUTES = ("bare", "read", "write", "login")
PART = re.compile(r"(hello_tornado/sessions/[\w/]+|tornado|asyncio|sqlalchemy)\b")


def part(stack: str) -> str:
    """What a sample counts for."""
    for frame in reversed(stack.split(";")):
        file = frame.rpartition("(")[2]
        if file.startswith("app.py"):
            return "the handlers"
        if found := PART.match(file):
            return found[1].removeprefix("hello_tornado/sessions/")
    return "other"


def profile(target: Target, route: str, seconds: int) -> Mapping[str, float]:
    """Microseconds of each part for one request."""
    cookies = target.cookies(32) if route in {"read", "write"} else []
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(1) as pool:
        samples = Path(directory) / "samples"
        under_load = pool.submit(target.load, f"/{route}", cookies, 32, seconds + 2)
        record = ["py-spy", "record", "--rate", "1000", "--duration", str(seconds)]
        options = ["--format", "raw", "--output", str(samples), "--pid", str(target.pid)]
        subprocess.run([*record, *options], check=True, capture_output=True)
        counts: Counter[str] = Counter()
        for line in samples.read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            counts[part(stack)] += int(count)
        cpu = under_load.result().cpu
    return {name: cpu * count / counts.total() for name, count in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profiled")
    parser.add_argument("store", nargs="?", default="memory://")
    parser.add_argument("--seconds", type=int, default=10)
    given = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (server,) = servers_on(given.store, directory, with_peers=False)
        target = stack.enter_context(serving(server))
        columns = {route: profile(target, route, given.seconds) for route in ROUTES}
    parts = {name for column in columns.values() for name in column}
    most = sorted(parts, key=lambda name: -max(each.get(name, 0) for each in columns.values()))
    print(f"| us of a request | {' | '.join(ROUTES)} |\n|---|{'--:|' * len(ROUTES)}")
    for name in most:
        shown = [columns[route].get(name, 0) for route in ROUTES]
        if max(shown) >= 1:
            print(f"| `{name}` | {' | '.join(f'{each:.0f}' for each in shown)} |")
    print(f"| together | {' | '.join(f'{sum(columns[route].values()):.0f}' for route in ROUTES)} |")


if __name__ == "__main__":
    main()
