"""What sessions keep while processes, networks and databases fail.

    python -m bench.faults [STORE…] [--only WORDS] [--short] [--json FILE] [--visitors 8]
                           [--broken PROMISE] [--logs DIRECTORY]

Each STORE is one of sqlite, postgresql, postgresql+asyncpg, mariadb, redis, pgbouncer, galera,
sentinel, redis+cluster; without one, all. Every
server is started in a temporary directory, on the loopback interface, and ended again. The exit
status is 1 when a promise was broken. --only runs the faults whose names contain WORDS, --short
those that run in the tests. --broken runs a store that breaks a promise on purpose, to check the
checker. "the disk is full" needs root, for a file system of its own.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench.faults.broken import BROKEN
from bench.faults.campaign import Run, run
from bench.faults.faults import ALL, FAULTS, Fault
from bench.faults.report import (
    HEAD,
    RECOVERY_SECONDS,
    RULE,
    TOTALS_HEAD,
    TOTALS_RULE,
    as_json,
    line,
    totals,
)
from bench.faults.started import database_of

MOST_RUN_SECONDS = 180


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stores", nargs="*", metavar="STORE", help=f"of {', '.join(ALL)}")
    parser.add_argument("--only", metavar="WORDS", default="", help="words of a fault's name")
    parser.add_argument("--short", action="store_true", help="the faults that the tests run")
    parser.add_argument("--visitors", type=int, default=8)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all evidence there")
    parser.add_argument("--logs", type=Path, metavar="DIRECTORY", help="keep the logs there")
    parser.add_argument("--broken", choices=[*BROKEN], metavar="PROMISE", help="break it")
    given = parser.parse_args()
    if unknown := {*given.stores} - {*ALL}:
        parser.error(f"no such store: {', '.join(unknown)}; there are {', '.join(ALL)}")
    return given


async def runs_on(
    store: str, faults: Sequence[Fault], given: argparse.Namespace, logs: Path
) -> AsyncIterator[Run]:
    """The runs of all *faults* on a store; those that share no server, on another one."""
    for with_twin in (False, True):
        chosen = [fault for fault in faults if fault.needs_twin is with_twin]
        if not chosen:
            continue
        async with database_of(store, with_twin=with_twin) as (database, has_disk):
            for fault in chosen:
                if fault.needs_disk and not has_disk:
                    print(f"{database.name}: {fault.name}: left out, it needs root")
                    continue
                log = logs / f"{store}-{FAULTS.index(fault):02}.log"
                async with asyncio.timeout(MOST_RUN_SECONDS):
                    yield await run(
                        fault, database, log, visitors=given.visitors, broken=given.broken
                    )
                await asyncio.to_thread(database.ensure_running)


async def campaign(given: argparse.Namespace, logs: Path) -> list[Run]:
    """All runs that were asked for, each printed when it is done."""
    runs = []
    print(HEAD, RULE, sep="\n", flush=True)
    for store in given.stores or ALL:
        faults = [
            fault
            for fault in FAULTS
            if store in fault.stores
            and given.only in fault.name
            and (store in fault.short_on or not given.short)
        ]
        async for one in runs_on(store, faults, given, logs):
            runs.append(one)
            print(line(one), flush=True)
            if given.json:
                given.json.write_text(json.dumps([as_json(one) for one in runs], indent=2))
    print("", TOTALS_HEAD, TOTALS_RULE, *totals(runs), sep="\n")
    return runs


def main() -> None:
    given = options()
    with tempfile.TemporaryDirectory(prefix="faults-logs-") as temporary:
        logs = given.logs or Path(temporary)
        logs.mkdir(exist_ok=True)
        runs = asyncio.run(campaign(given, logs))
    for one in runs:
        if one.recovery is None or one.recovery > RECOVERY_SECONDS:
            print(f"\n{one.store}, {one.fault}: the last bad answer: {one.last_bad}")
        for violation in one.violations[:3]:
            print(f"\n{one.store}, {one.fault}: {violation.invariant}: {violation.evidence}")
    sys.exit(not all(one.is_right for one in runs))


if __name__ == "__main__":
    main()
