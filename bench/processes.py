"""One to four server processes on one store: `python -m bench.processes [STORE] [--most 4]`.

STORE is a URL, by default that of a new SQLite file. Prints the requests per second of all
processes together, as a multiple of one. Needs wrk, and says little with fewer processors.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.load import Target, serving
from bench.servers import servers_on

ROUTES = ("read", "write")


def together(targets: Sequence[Target], route: str) -> float:
    """Requests per second of all of them; 32 clients, who are everybody's."""
    cookies = targets[0].cookies(32)
    with ThreadPoolExecutor(len(targets)) as pool:
        connections = 32 // len(targets)
        rounds = pool.map(lambda one: one.load(f"/{route}", cookies, connections, 2), targets)
        return sum(one.requests_per_second for one in rounds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.processes")
    parser.add_argument("store", nargs="?", default="sqlite://")
    parser.add_argument("--most", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (server,) = servers_on(given.store, directory, with_peers=False)
        targets = [stack.enter_context(serving(server, is_pinned=False)) for _ in range(given.most)]
        for route in ROUTES:
            figures: dict[int, list[float]] = {count + 1: [] for count in range(given.most)}
            for _ in range(given.rounds):
                for count, each in figures.items():
                    each.append(together(targets[:count], route))
            one = statistics.median(figures[1])
            for count, each in figures.items():
                all_of_them = statistics.median(each)
                print(f"{route:6} {count} processes {all_of_them:7.0f} /s {all_of_them / one:5.2f}")


if __name__ == "__main__":
    main()
