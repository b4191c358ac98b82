"""How changes reach the store: fold what waits, swap it in, and replay it on whatever won instead.

All commits to one session pass through one line, in the order in which they came. While one write
is under way the next ones gather, and go together as a single swap; so requests of this process
never conflict with each other. A conflict means that another process wrote, and the changes are
replayed (rebased) on what it wrote.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final, NamedTuple, TypeAlias

from hello_tornado.sessions.changes import Update
from hello_tornado.sessions.document import Document
from hello_tornado.sessions.errors import StoreError, StoreTimeout, StoreUnavailable
from hello_tornado.sessions.gather import fail
from hello_tornado.sessions.ids import SessionKey
from hello_tornado.sessions.record import Conflict, Gone, Outcome, Saved, SessionRecord, Swap
from hello_tornado.sessions.session import Renewal

MAX_ROUNDS: Final = 100


@dataclass(frozen=True, slots=True)
class Commit:
    """One request's changes to the session that it loaded as `base`.

    `renewed_to` is the key of the session's new id, if it gets one, and `renewal` says how.
    """

    base: SessionRecord
    changes: Update
    renewed_to: SessionKey | None = None
    renewal: Renewal | None = None

    def then(self, later: "Commit") -> "Commit":
        """This commit, followed by *later*, as one."""
        newer = max(self.base, later.base, key=lambda record: record.version)
        return replace(later, base=newer, changes=self.changes.merged_with(later.changes))


class Committed(NamedTuple):
    """What stands in the store after a commit."""

    record: SessionRecord
    document: Document


Result: TypeAlias = Committed | Conflict | Gone
Rebuild: TypeAlias = Callable[[SessionRecord, Commit], Committed]
"""Applies a commit to a record: what should stand instead."""

Turn: TypeAlias = list[tuple[Commit, asyncio.Future[Result]]]


class Committer:
    """Brings commits into the store, session by session."""

    def __init__(self, save: Callable[[Swap], Awaitable[Outcome]], rebuild: Rebuild) -> None:
        self._save = save
        self._rebuild = rebuild
        self._lines: dict[SessionKey, Turn] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def commit(self, commit: Commit) -> Result:
        """Store *commit*, merged with what others did meanwhile.

        `Gone` when the session ended, or got another id; `Conflict` when the id that it was to be
        renewed to is taken. In both cases nothing of it is stored.
        """
        key = commit.base.key
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        if key in self._lines:
            self._lines[key].append((commit, future))
        else:
            self._lines[key] = [(commit, future)]
            task = asyncio.create_task(self._serve(key))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await future  # who leaves does not stop the line

    async def _serve(self, key: SessionKey) -> None:
        """Serve the line of one session until nobody waits in it."""
        line = self._lines[key]
        stands: SessionRecord | None = None
        try:
            while line:
                match await self._settle(_take_turn(line), stands):
                    case Committed(record) if record.key == key:
                        stands = record
                    case Committed() | Gone():
                        _tell(line, Gone())
                        line.clear()
                    case Conflict() | None:
                        pass
        finally:
            del self._lines[key]

    async def _settle(self, turn: Turn, stands: SessionRecord | None) -> Result | None:
        """Store a turn as one, and tell those in it; None when that failed with an error."""
        commits = [commit for commit, _ in turn]
        folded = reduce(Commit.then, commits)
        if stands is not None and stands.version > folded.base.version:
            folded = replace(folded, base=stands)
        try:
            result = await self._store(folded)
        except Exception as error:  # noqa: BLE001 - it goes to those who wait
            if isinstance(error, StoreTimeout):
                turn = [*turn, *self._all_behind(folded.base.key)]
            if len(turn) == 1 or isinstance(error, StoreUnavailable):
                for _, future in turn:
                    fail(future, error)
                return None
        else:
            _tell(turn, result)
            return result
        # What one request did cannot be stored; its neighbours must not pay for it.
        last: Result | None = None
        for waiting in turn:
            last = await self._settle([waiting], stands) or last
            stands = last.record if isinstance(last, Committed) else stands
        return last

    def _all_behind(self, key: SessionKey) -> Turn:
        behind = self._lines[key][:]
        self._lines[key].clear()
        return behind

    async def _store(self, commit: Commit) -> Result:
        current = commit.base
        for _ in range(MAX_ROUNDS):
            wanted = self._rebuild(current, commit)
            match await self._save(Swap(current, wanted.record)):
                case Saved():
                    return wanted
                case Conflict(winner) if winner.key == current.key:
                    current = winner
                case other:
                    return other
        raise StoreError(f"the store reported {MAX_ROUNDS} conflicts in a row for one session")


def _take_turn(line: Turn) -> Turn:
    """Those who wait, up to the first renewal: whoever comes after it holds a dead id."""
    renewing = (i for i, (commit, _) in enumerate(line, start=1) if commit.renewed_to is not None)
    end = next(renewing, len(line))
    turn = line[:end]
    del line[:end]
    return turn


def _tell(turn: Turn, result: Result) -> None:
    for _, future in turn:
        if not future.done():
            future.set_result(result)
