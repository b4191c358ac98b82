"""One run: visitors, then a fault under them, its end, and a last look at every session."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.faults.checker import Violation, violations
from bench.faults.databases import Database
from bench.faults.faults import Fault
from bench.faults.ledger import ANSWERED, Request
from bench.faults.visitors import Visitors
from bench.faults.world import PROCESSES, World, world_of

WARM_SECONDS = 1.0
SLOW_SECONDS = 1.0  # an answer after the fault that takes longer is no recovery
CALM_SECONDS = 2.0
MOST_RECOVERY_SECONDS = 20
LAST_LOOK_SECONDS = 10
LET_GO_SECONDS = 3  # in which connections that were given up have to be closed
WRITES = ("begin", "login", "increment", "append", "set", "logout")


@dataclass(frozen=True)
class Run:
    """What one fault did to one store.

    `recovery` is None when some process still failed at the end, and `last_bad` is the last answer
    that was no recovery. `unseen` sessions could not be looked at then.
    """

    store: str
    fault: str
    requests: int
    acknowledged: int
    errors: Mapping[str, int]
    longest: float
    recovery: float | None
    last_bad: str
    leaked: int
    unseen: int
    violations: Sequence[Violation]

    @property
    def is_right(self) -> bool:
        """Whether every promise was kept, but for those about time."""
        return not (self.violations or self.leaked or self.unseen or self.recovery is None)


async def run(
    fault: Fault, database: Database, log: Path, *, visitors: int, broken: str | None = None
) -> Run:
    """Let *fault* happen on *database*, which is up."""
    extra = ("--broken", broken) if broken else ()
    options = [(*given, *extra) for given in fault.options]
    async with world_of(database, log, is_forked=fault.is_forked, options=options) as world:
        clients = Visitors(world.ports, askable=fault.askable, enders=fault.enders)
        visiting = asyncio.create_task(clients.visit(visitors))
        try:
            await asyncio.sleep(WARM_SECONDS)
            before = await asyncio.to_thread(world.connections)
            began = time.monotonic()
            async with fault.act(world):
                await asyncio.sleep(fault.seconds)
            ended = time.monotonic()
            recovery = await _recovery(clients.ledger, ended, fault.askable)
            clients.leave()
            await visiting
            unseen = await clients.last_look(LAST_LOOK_SECONDS)
            leaked = await _leaked(world, before)
        finally:
            visiting.cancel()
            clients.close()
    ledger = clients.ledger
    return Run(
        store=database.name,
        fault=fault.name,
        requests=len(ledger),
        acknowledged=sum(one.is_acknowledged and one.kind in WRITES for one in ledger),
        errors=dict(Counter(one.answer for one in ledger if one.answer not in ANSWERED)),
        longest=_longest(fault, ledger, began, ended),
        recovery=recovery,
        last_bad=_last_bad(ledger, ended),
        leaked=leaked,
        unseen=unseen,
        violations=violations(ledger),
    )


def _longest(fault: Fault, ledger: Sequence[Request], began: float, ended: float) -> float:
    """The longest answer of a request that met the fault."""
    met = [one for one in ledger if one.answered > began and one.sent < ended]
    return max((one.seconds for one in met if one.process not in fault.silent), default=0)


async def _recovery(
    ledger: Sequence[Request], ended: float, processes: Sequence[int]
) -> float | None:
    """How long after its end the fault was felt: until the last bad answer to a new request."""
    while time.monotonic() < ended + MOST_RECOVERY_SECONDS:
        await asyncio.sleep(0.1)
        after = [request for request in ledger if request.sent > ended]
        bad = [one.answered for one in after if _is_bad(one)]
        last = max(bad, default=ended)
        well = {one.process for one in after if one.answered > last and not _is_bad(one)}
        if time.monotonic() > last + CALM_SECONDS and well >= {*processes}:
            return last - ended
    return None


def _is_bad(request: Request) -> bool:
    return request.answer not in ANSWERED or request.seconds > SLOW_SECONDS


def _last_bad(ledger: Sequence[Request], ended: float) -> str:
    bad = [request for request in ledger if request.sent > ended and _is_bad(request)]
    if not bad:
        return ""
    last = max(bad, key=lambda request: request.answered)
    return (
        f"{last.kind} at process {last.process}, sent {last.sent - ended:.2f} s after the end: "
        f"{last.answer} in {last.seconds:.2f} s"
    )


async def _leaked(world: World, before: int) -> int:
    """How many connections are more than there were, and more than the processes may hold."""
    allowed = max(before, PROCESSES * world.database.allowed_connections)
    deadline = time.monotonic() + LET_GO_SECONDS
    while True:
        leaked = await asyncio.to_thread(world.connections) - allowed
        if leaked <= 0 or time.monotonic() > deadline:
            return max(0, leaked)
        await asyncio.sleep(0.1)
