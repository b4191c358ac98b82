"""The fault campaign: it runs, its checker sees what is broken, and our stores break nothing."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from services import missing

from bench.faults.checker import INVARIANTS, violations
from bench.faults.ledger import Request, Seen

ROOT = Path(__file__).parent.parent
AT_ONCE = 4
FEWEST_WRITES = 20  # of a run, or it has shown nothing; a loaded machine manages no more
SOME_BROKEN = [  # the others are caught likewise: `python -m bench.faults sqlite --broken PROMISE`
    "lost update",
    "accepted after logout",
    "revived",
    "read of another's session",
    "torn",
    "leaked connections",
]
ACCEPTED = "accepted after logout"  # of an id that a login ended, too

Runs = list[dict[str, Any]]


def line(kind: str, at: float, answer: str = "ok", **fields: Any) -> Request:
    """A line of a ledger, of the session "ada"; the answer comes half a second later."""
    return Request(
        **{"session": "ada", "process": 0, **fields},
        kind=kind,
        sent=at,
        answered=at + 0.5,
        answer=answer,
    )


def read(at: float, user: str | None = "ada", answer: str = "ok", **seen: Any) -> Request:
    flags = {name: seen.pop(name) for name in ("is_old_id", "is_last_look") if name in seen}
    return line("read", at, answer, seen=Seen(user=user, owner=user, **seen), **flags)


REFUSED = {"user": None, "answer": "anonymous"}
LOGIN = [line("begin", 0), line("login", 1)]
ENDED = [*LOGIN, line("logout", 2)]
MARK, OTHER_MARK = "ada/1", "ada/2"

RIGHT = {
    "everything that was acknowledged is there": [
        *LOGIN,
        line("increment", 2),
        line("append", 3, mark=MARK),
        line("set", 4, lane="a", value=1),
        read(5, count=1, marks=(MARK,), lanes={"a": 1}, left="a:1", right="a:1"),
    ],
    "a write without an answer was done": [
        *LOGIN,
        line("increment", 2, "closed"),
        line("append", 2, "503", mark=MARK),
        read(3, count=1, marks=(MARK,)),
    ],
    "a write without an answer was not done": [
        *LOGIN,
        line("increment", 2, "closed"),
        line("append", 2, "503", mark=MARK),
        read(3),
    ],
    "a write was acknowledged while the read was under way": [
        *LOGIN,
        line("increment", 2),
        read(2.4),
    ],
    "the id is refused after the logout": [*ENDED, read(3, **REFUSED)],
    "the id is accepted while the logout is under way": [*ENDED, read(2.1)],
    "the id is refused while the logout is under way": [*ENDED, read(2.1, **REFUSED)],
    "a logout without an answer was done": [
        *LOGIN,
        line("logout", 2, "closed"),
        read(3, **REFUSED),
    ],
    "the id from before the login is refused": [*LOGIN, read(2, is_old_id=True, **REFUSED)],
}
WRONG = {
    "an append is missing": (
        "lost acknowledgement",
        [
            *LOGIN,
            line("append", 2, mark=MARK),
            line("append", 3, mark=OTHER_MARK),
            read(4, marks=(OTHER_MARK,)),
        ],
    ),
    "the session is missing at the end": (
        "lost acknowledgement",
        [*LOGIN, read(3, is_last_look=True, **REFUSED)],
    ),
    "the session from before the login is missing": (
        "lost acknowledgement",
        [line("begin", 0), line("login", 1, "anonymous", seen=Seen())],
    ),
    "an increment is missing": ("lost update", [*LOGIN, line("increment", 2), read(3)]),
    "a key has an older value": (
        "lost update",
        [
            *LOGIN,
            line("set", 2, lane="a", value=1),
            line("set", 3, lane="a", value=2),
            read(4, lanes={"a": 1}),
        ],
    ),
    "an increment was applied twice": (
        "done twice",
        [*LOGIN, line("increment", 2), read(3, count=2)],
    ),
    "an append was applied twice": (
        "done twice",
        [*LOGIN, line("append", 2, mark=MARK), read(3, marks=(MARK, MARK))],
    ),
    "the id is accepted after the logout": (ACCEPTED, [*ENDED, read(3)]),
    "the id from before the login is accepted": (ACCEPTED, [*LOGIN, read(2, is_old_id=True)]),
    "the id is accepted again": ("revived", [*ENDED, read(3, **REFUSED), read(4)]),
    "somebody else's name is shown": ("read of another's session", [*LOGIN, read(2, "bob")]),
    "somebody else's data is shown": (
        "read of another's session",
        [*LOGIN, read(2, marks=("bob/1",))],
    ),
    "a signed-in cookie is unknown": ("anonymous answer", [*LOGIN, read(2, **REFUSED)]),
    "half of a write is shown": ("torn", [*LOGIN, read(2, left="a:1", right="a:2")]),
    "no answer comes": ("hung", [*LOGIN, line("read", 2, "silent")]),
    "the server has a bug": ("answered 500", [*LOGIN, line("read", 2, "500")]),
}


@pytest.mark.parametrize("ledger", RIGHT.values(), ids=RIGHT)
def test_the_checker_accepts_what_is_right(ledger: list[Request]) -> None:
    assert violations(ledger) == []


@pytest.mark.parametrize(("invariant", "ledger"), WRONG.values(), ids=WRONG)
def test_the_checker_finds_what_is_wrong(invariant: str, ledger: list[Request]) -> None:
    assert invariant in {violation.invariant for violation in violations(ledger)}


def test_each_invariant_has_a_ledger_that_breaks_it() -> None:
    assert {invariant for invariant, _ in WRONG.values()} == {*INVARIANTS}


def campaign(directory: Path, *arguments: str) -> Runs:
    """The runs of one campaign in a process of its own."""
    name = "-".join(word.replace(" ", "-") for word in arguments)
    figures = directory / f"{name}.json"
    command = [sys.executable, "-m", "bench.faults", *arguments, "--json", str(figures)]
    done = subprocess.run(
        [*command, "--visitors", "4"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if "is missing: install" in done.stderr:
        missing(done.stderr.strip().splitlines()[-1])
    assert done.returncode in {0, 1}, done.stderr
    assert figures.exists(), done.stderr
    runs: Runs = json.loads(figures.read_text())
    return runs


@pytest.fixture(scope="module")
def broken_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, "Future[Runs]"]]:
    """The runs on each broken store, some of them at once."""
    directory = tmp_path_factory.mktemp("broken")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            promise: pool.submit(
                campaign, directory, "sqlite", "--only", "no fault", "--broken", promise
            )
            for promise in SOME_BROKEN
        }


@pytest.mark.timeout(240)
@pytest.mark.parametrize("promise", SOME_BROKEN)
@pytest.mark.slow
def test_a_broken_store_is_caught(promise: str, broken_runs: Mapping[str, "Future[Runs]"]) -> None:
    (run,) = broken_runs[promise].result()
    found = {violation["invariant"] for violation in run["violations"]}
    found |= {"leaked connections"} if run["leaked"] else set()
    assert promise in found


@pytest.fixture(scope="module")
def short_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, "Future[Runs]"]]:
    """The short campaign on each kind of store, all at once."""
    directory = tmp_path_factory.mktemp("short")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            store: pool.submit(campaign, directory, store, "--short")
            for store in ("sqlite", "postgresql", "mariadb", "redis")
        }


@pytest.mark.timeout(240)
@pytest.mark.parametrize("store", ["sqlite", "postgresql", "mariadb", "redis"])
@pytest.mark.slow
def test_a_store_keeps_its_promises_under_faults(
    store: str, short_runs: Mapping[str, "Future[Runs]"]
) -> None:
    runs = short_runs[store].result()
    assert len(runs) >= 2
    assert all(run["acknowledged"] > FEWEST_WRITES for run in runs)
    wrong = [run | {"violations": run["violations"][:3]} for run in runs if not run["is_right"]]
    assert not wrong, json.dumps(wrong, indent=2)


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_parallel_writes_and_racing_logouts_lose_nothing() -> None:
    command = [sys.executable, "-m", "bench.faults.side_by_side", "sqlite"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.splitlines()[-1] == "| hello_tornado | SQLite | 0 of 400 | 0 of 20 |"
