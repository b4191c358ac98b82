"""What a session costs: Tornado without and with sessions, measured side by side.

    python -m bench [STORE…] [--rounds 5] [--seconds 2] [--connections 32] [--json F] [--svg F]

Each STORE is a URL; without one, memory and SQLite. All servers are up at the same time and are
asked in turns, so that a noisy machine is noisy for all of them; what counts are the ratios to bare
Tornado in the same run, medians over the rounds. Needs wrk.
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from bench.chart import chart
from bench.load import Round, Target, serving

ROUTES = ("anonymous", "read", "write", "login")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("stores", nargs="*", metavar="STORE", help="a store's URL")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the ratios there")
    return parser.parse_args()


def one(target: Target, route: str, cookies: list[str], given: argparse.Namespace) -> Round:
    """One run; an anonymous visitor reads without a cookie, a login has none yet."""
    path = "/read" if route == "anonymous" else f"/{route}"
    with_cookies = cookies if route in {"read", "write"} else []
    return target.load(path, with_cookies, given.connections, given.seconds)


def measured(targets: list[Target], given: argparse.Namespace) -> dict[str, dict[str, list[Round]]]:
    """Every round of every route of every server, taken in turns."""
    cookies = {target: target.cookies(given.connections) for target in targets}
    rounds = {target.name: {route: [] for route in ROUTES} for target in targets}
    for number in range(-1, given.rounds):  # the first is for warming up
        for route in ROUTES:
            for target in random.sample(targets, len(targets)):
                result = one(target, route, cookies[target], given)
                if number >= 0:
                    rounds[target.name][route].append(result)
    return rounds


def summary(rounds: dict[str, dict[str, list[Round]]]) -> list[dict[str, float | str]]:
    """A row for each server and route: medians, and the ratio to the bare server's same round."""
    rows = []
    for name, routes in rounds.items():
        for route, each in routes.items():
            bare = rounds["bare Tornado"][route]
            medians = {
                field: statistics.median(getattr(one, field) for one in each)
                for field in asdict(each[0])
            }
            ratios = [
                mine.requests_per_second / theirs.requests_per_second
                for mine, theirs in zip(each, bare, strict=True)
            ]
            added = [mine.cpu - theirs.cpu for mine, theirs in zip(each, bare, strict=True)]
            rows.append(
                {"server": name, "route": route, **medians}
                | {"ratio": statistics.median(ratios), "added_cpu": statistics.median(added)}
            )
    return rows


def print_table(rows: list[dict[str, float | str]]) -> None:
    print(f"{'':34}{'of bare':>8}{'req/s':>8}{'p50 ms':>8}{'p99 ms':>8}{'+CPU us':>9}{'trips':>7}")
    for row in rows:
        print(
            f"{row['server']:22}{row['route']:12}{row['ratio']:8.2f}"
            f"{row['requests_per_second']:8.0f}{row['p50'] / 1e3:8.2f}{row['p99'] / 1e3:8.2f}"
            f"{row['added_cpu']:9.0f}{row['round_trips']:7.2f}"
        )


def main() -> None:
    given = options()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: install Debian's package wrk")
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        stores = given.stores or ["memory://", f"sqlite:///{directory}/sessions.db"]
        kinds = {"bare Tornado": "bare"} | {store.partition(":")[0]: store for store in stores}
        targets = [stack.enter_context(serving(name, kind)) for name, kind in kinds.items()]
        rows = summary(measured(targets, given))
    print_table(rows)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    if given.svg:
        given.svg.write_text(chart(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
