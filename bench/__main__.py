"""What a session costs: Tornado without and with sessions, and its peers, measured side by side.

    python -m bench [STORE…] [--peers] [--rounds 5] [--seconds 2] [--connections 32]
                    [--json FILE] [--svg FILE]

Each STORE is a URL; without one, memory:// and sqlite:// (a new file). All servers are up at the
same time and take turns, bare Tornado before the routes of each, so that a noisy machine is noisy
for all; what counts are the ratios to that bare Tornado, medians over the rounds. plain-read and
plain-write are sessions by hand on our stores, a statement for each request. Needs wrk; --peers
needs `npm install --prefix bench/peers` and `pip install -e ".[bench]"`.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, TypeAlias

from bench.chart import chart
from bench.load import Round, Target, serving
from bench.servers import bare_tornado, missing, servers_on

Row: TypeAlias = Mapping[str, float | str]

THEIRS = ("bare", "read", "write", "login")
OURS = (*THEIRS, "anonymous", "plain-read", "plain-write")
VISITED = {"read", "write", "plain-read", "plain-write"}


class Measured(NamedTuple):
    """A route of a server, and in the same turn bare Tornado and the server's own bare route."""

    route: Round
    tornado: Round
    bare: Round


Rounds: TypeAlias = Mapping[Target, Mapping[str, Sequence[Measured]]]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    default = ["memory://", "sqlite://"]
    parser.add_argument("stores", nargs="*", metavar="STORE", help="a URL", default=default)
    parser.add_argument("--peers", action="store_true", help="and other session systems")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the ratios there")
    return parser.parse_args()


def measured(control: Target, targets: Sequence[Target], given: argparse.Namespace) -> Rounds:
    """Every round of every route of every server, taken in turns; the first serves to warm up.

    The visitors of a round are new: wrk would go on with a cookie that it was told to replace.
    """

    def load(target: Target, route: str) -> Round:
        visitors = target.cookies(given.connections) if route in VISITED else ()
        path = "/read" if route == "anonymous" else f"/{route}"
        return target.load(path, visitors, given.connections, given.seconds)

    rounds: dict[Target, dict[str, list[Measured]]] = {
        target: {route: [] for route in (OURS if target.server.is_ours else THEIRS)}
        for target in targets
    }
    for number in range(-1, given.rounds):
        for target in random.sample(targets, len(targets)):
            tornado, routes = load(control, "bare"), rounds[target]
            results = {
                route: load(target, route) for route in random.sample([*routes], len(routes))
            }
            if number >= 0:
                for route, result in results.items():
                    routes[route].append(Measured(result, tornado, results["bare"]))
    return rounds


def summary(control: Target, rounds: Rounds) -> list[Row]:
    """A row for each server and route.

    Medians; the ratio to bare Tornado, and what was added to the bare route of the same server.
    """
    all_bare = [each.tornado for routes in rounds.values() for each in routes["bare"]]
    bare = [Measured(tornado, tornado, tornado) for tornado in all_bare]
    rows = [_row(control, "bare", bare, cookie_bytes=0)]
    for target, routes in rounds.items():
        cookie_bytes = max(map(len, target.cookies(1)))
        rows += [_row(target, route, each, cookie_bytes) for route, each in routes.items()]
    return rows


def _row(target: Target, route: str, rounds: Sequence[Measured], cookie_bytes: int) -> Row:
    each = [one.route for one in rounds]
    medians = {
        field: statistics.median(getattr(one, field) for one in each)
        for field, value in asdict(each[0]).items()
        if value is not None
    }
    return {
        "server": target.server.name,
        "store": target.server.store,
        "route": route,
        "ratio": statistics.median(
            one.route.requests_per_second / one.tornado.requests_per_second for one in rounds
        ),
        "added_cpu": statistics.median(one.route.cpu - one.bare.cpu for one in rounds),
        "cookie_bytes": cookie_bytes,
        **medians,
    }


def print_table(rows: Sequence[Row]) -> None:
    columns = f"{'of bare':>8}{'req/s':>8}{'p50 ms':>8}{'p99 ms':>8}{'+CPU us':>9}{'calls':>7}"
    print(f"{'':42}{columns}{'cookie':>8}")
    for row in rows:
        calls = f"{row['round_trips']:7.2f}" if "round_trips" in row else " " * 7
        print(
            f"{row['server']:17}{row['store']:13}{row['route']:12}{row['ratio']:8.2f}"
            f"{row['requests_per_second']:8.0f}{row['p50'] / 1e3:8.2f}{row['p99'] / 1e3:8.2f}"
            f"{row['added_cpu']:9.0f}{calls}{row['cookie_bytes']:8}"
        )


def main() -> None:
    given = options()
    if (what := missing(with_peers=given.peers)) is not None:
        sys.exit(what)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [bare_tornado()]
        for url in given.stores:
            servers += servers_on(url, directory, with_peers=given.peers)
        control, *targets = [stack.enter_context(serving(server)) for server in servers]
        rows = summary(control, measured(control, targets, given))
    print_table(rows)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    if given.svg:
        given.svg.write_text(chart(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
