"""How changes reach the store: fold what waits, swap it in, and replay it on whatever won instead.

While one write is under way the next commits gather. Then those to one session go together as a
single swap, in the order in which they came, and the swaps of all sessions as a single save. So
requests of this process never conflict with each other. A conflict means that another process
wrote, and the changes are replayed (rebased) on what it wrote.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from hello_tornado.sessions.changes import Update
from hello_tornado.sessions.document import Document
from hello_tornado.sessions.errors import StoreError
from hello_tornado.sessions.gather import Gather
from hello_tornado.sessions.ids import SessionKey
from hello_tornado.sessions.record import Conflict, Gone, Outcome, Saved, SessionRecord, Swap
from hello_tornado.sessions.renewal import Renewal

MAX_ROUNDS: Final = 100


class Commit(NamedTuple):
    """One request's changes to the session that it loaded as `base`.

    `renewed_to` is the key of the session's new id, if it gets one, and `renewal` says how.
    """

    base: SessionRecord
    changes: Update
    renewed_to: SessionKey | None = None
    renewal: Renewal | None = None

    def then(self, later: "Commit") -> "Commit | None":
        """This commit, followed by *later*, as one; None after a renewal: the old id is dead."""
        if self.renewed_to is not None:
            return None
        base = self.base if self.base.version > later.base.version else later.base
        return later._replace(base=base, changes=self.changes.merged_with(later.changes))


class Committed(NamedTuple):
    """What stands in the store after a commit."""

    record: SessionRecord
    document: Document


Result: TypeAlias = Committed | Conflict | Gone
Rebuild: TypeAlias = Callable[[SessionRecord, Commit], Committed]
"""Applies a commit to a record: what should stand instead."""


class Committer:
    """Brings commits into the store, many at once."""

    def __init__(
        self, save: Callable[[Sequence[Swap]], Awaitable[Sequence[Outcome]]], rebuild: Rebuild
    ) -> None:
        self._save = save
        self._rebuild = rebuild
        self._commits: Gather[SessionKey, Commit, Result] = Gather(self._store, Commit.then)
        self._newest: Mapping[SessionKey, SessionRecord] = {}

    async def commit(self, commit: Commit) -> Result:
        """Store *commit*, merged with what others did meanwhile.

        `Gone` when the session ended, or got another id; `Conflict` when the id that it was to be
        renewed to is taken. In both cases nothing of it is stored.
        """
        key = commit.base.key
        for _ in range(MAX_ROUNDS):
            match await self._commits(key, commit):
                case Conflict(winner) if winner.key == key:
                    commit = commit._replace(base=winner)
                case result:
                    return result
        raise StoreError(f"the store reported {MAX_ROUNDS} conflicts in a row for one session")

    async def _store(self, commits: Sequence[Commit]) -> Sequence[Result]:
        """One swap for each, of the newest record that is known."""
        swaps, wanted = [], []
        for commit in commits:
            base = self._newest.get(commit.base.key, commit.base)
            old = base if base.version > commit.base.version else commit.base
            wanted.append(self._rebuild(old, commit))
            swaps.append(Swap(old, wanted[-1].record))
        outcomes = await self._save(swaps)
        results: list[Result] = [
            one if isinstance(outcome, Saved) else outcome
            for one, outcome in zip(wanted, outcomes, strict=True)
        ]
        # Whoever waits for this call to end has loaded an older one.
        self._newest = {one.record.key: one.record for one in results if isinstance(one, Committed)}
        return results
