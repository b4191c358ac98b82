"""What the runs showed, as a table for people and as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from bench.faults.campaign import Run
from bench.faults.checker import counted

ANSWER_SECONDS = 3.5
RECOVERY_SECONDS = 2.0
HEAD = (
    "| store | fault | requests | acknowledged writes | errors | longest answer | recovery "
    "| broken |"
)
RULE = "|---|---|--:|--:|---|--:|--:|---|"


def line(run: Run) -> str:
    """A run as a line of the table; what misses its goal is bold."""
    errors = ", ".join(f"{kind} {count}" for kind, count in sorted(run.errors.items()))
    longest = _marked(f"{run.longest:.1f} s", run.longest > ANSWER_SECONDS)
    recovery = "**never**"
    if run.recovery is not None:
        recovery = _marked(f"{run.recovery:.1f} s", run.recovery > RECOVERY_SECONDS)
    cells = (run.store, run.fault, f"{run.requests:,}", f"{run.acknowledged:,}", errors or "none")
    return f"| {' | '.join((*cells, longest, recovery, broken(run)))} |"


def broken(run: Run) -> str:
    """The promises that were broken, and how often."""
    counts = {name: count for name, count in counted(run.violations).items() if count}
    more = {"leaked connections": run.leaked, "sessions that nobody could read": run.unseen}
    counts |= {name: count for name, count in more.items() if count}
    return ", ".join(f"**{name} {count}**" for name, count in counts.items()) or "none"


def totals(runs: Sequence[Run]) -> Iterator[str]:
    """For each store: how much was asked, and what the zeros are worth."""
    for store in dict.fromkeys(run.store for run in runs):
        of_store = [run for run in runs if run.store == store]
        writes = sum(run.acknowledged for run in of_store)
        broken_promises = sum(len(run.violations) for run in of_store)
        requests = sum(run.requests for run in of_store)
        bound = f"{3 / writes:.1e}" if writes else "nothing"
        yield (
            f"| {store} | {len(of_store)} | {requests:,} | {writes:,} | {broken_promises} | "
            f"{sum(run.leaked for run in of_store)} | {bound} |"
        )


TOTALS_HEAD = "| store | runs | requests | acknowledged writes | violations | leaked | 3/n |"
TOTALS_RULE = "|---|--:|--:|--:|--:|--:|--:|"


def as_json(run: Run) -> dict[str, Any]:
    """A run with all its evidence."""
    return {**asdict(run), "is_right": run.is_right}


def _marked(text: str, is_bad: bool) -> str:
    return f"**{text}**" if is_bad else text
