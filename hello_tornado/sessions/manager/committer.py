"""Writes commits to the store: combines waiting ones, saves them, and replays them on conflicts.

While one write is running, the next commits wait. Then all commits to one session are combined into
a single swap, in the order of their arrival, and the swaps of all sessions into a single save. A
conflict means that another writer, usually another process, has changed the session. Then the
commit is tried again before later ones, and its changes are replayed on the new record.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from hello_tornado.sessions.errors import StoreError
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.immutable import immutable
from hello_tornado.sessions.records.record import (
    Conflict,
    Gone,
    Outcome,
    Saved,
    SessionRecord,
    Swap,
)
from hello_tornado.sessions.session.document import Document
from hello_tornado.sessions.session.draft import Renewal
from hello_tornado.sessions.session.operations import Update
from hello_tornado.sessions.stores import Store
from hello_tornado.sessions.stores.batching import AGAIN, Again, Batcher, batched
from hello_tornado.sessions.stores.deadlines import limit_of_store

MAX_CONFLICTS: Final = 100
TOO_MANY: Final = f"the store reported {MAX_CONFLICTS} conflicts in a row for one session"
BREATH: Final = 256 * 1024  # bytes to build before other tasks may run


@immutable
class Standing:
    """The record that is expected in the store, and its document if it was read already."""

    record: SessionRecord
    document: Document | None = None
    conflicts: int = 0  # the number of conflicts in a row that led to this record


@immutable
class Commit:
    """The changes of a request to a session.

    - `base`: the record that the request loaded.
    - `changes`: the changes.
    - `renewed_to`: the key of the new id, or None if the id stays.
    - `renewal`: what else the renewal changes.
    """

    base: Standing
    changes: Update
    renewed_to: SessionKey | None = None
    renewal: Renewal | None = None

    def then(self, later: "Commit") -> "Commit | None":
        """Combine this commit with a *later* one; None if this is a renewal, which ends the id."""
        if self.renewed_to is not None:
            return None
        is_newer = self.base.record.version > later.base.record.version
        base = self.base if is_newer else later.base
        changes = self.changes.merged_with(later.changes)
        return Commit(base, changes, later.renewed_to, later.renewal)


class Committed(NamedTuple):
    """The stored state after a commit."""

    record: SessionRecord
    document: Document


Result: TypeAlias = Committed | Conflict | Gone
Rebuild: TypeAlias = Callable[[Standing, Commit], Committed]
"""Applies a commit to the stored state and returns the new state."""


@immutable
class Attempt:
    """A commit applied to the newest known record; a renewal also stores a tombstone."""

    old: Standing
    wanted: Committed
    tombstone: SessionRecord | None = None

    @property
    def swaps(self) -> Sequence[Swap]:
        """The swaps to save; the last one is that of the session."""
        swap = Swap(self.old.record, self.wanted.record)
        return [swap] if self.tombstone is None else [Swap(None, self.tombstone), swap]


class Committer:
    """Writes commits to *store*, several at once.

    Args:
        store: The store.
        rebuild: Applies a commit to a record.
        tombstone: Takes the old and the new record of a renewal and returns the tombstone's record,
            or None.

    """

    def __init__(
        self,
        store: Store,
        rebuild: Rebuild,
        tombstone: Callable[[SessionRecord, SessionRecord], SessionRecord | None],
    ) -> None:
        self._save = store.save
        self._rebuild = rebuild
        self._tombstone = tombstone
        self._commits = batched(
            lambda: Batcher[SessionKey, Commit, Result](
                self._store, Commit.then, seconds=limit_of_store(store)
            ),
            store,
        )
        # Records that are newer than those that the waiting requests have loaded.
        self._standing: dict[SessionKey, Standing] = {}

    def commit(self, commit: Commit) -> Awaitable[Result]:
        """Store *commit*, merged with the changes that others made since its base.

        Returns `Gone` if the session has ended or has another id, and `Conflict` if its new id
        already exists. In both cases nothing is stored.
        """
        return self._commits(commit.base.record.key, commit)

    async def _store(self, commits: Sequence[Commit]) -> Sequence[Result | Again | Exception]:
        """Store several commits with one save; commits that cannot be built get an error."""
        attempts: list[Attempt | Exception] = []
        swaps: list[Swap] = []
        built = 0
        for commit in commits:
            attempts.append(attempt := self._attempt(commit))
            if isinstance(attempt, Attempt):
                swaps += attempt.swaps
                built += len(attempt.wanted.record.data)
            if built > BREATH:
                built = 0
                await asyncio.sleep(0)
        try:
            outcomes = iter(await self._save(swaps) if swaps else ())
        except StoreError:
            self._standing.clear()  # it is unknown what is stored now
            raise
        return [
            self._answer(attempt, _last(attempt, outcomes))
            if isinstance(attempt, Attempt)
            else attempt
            for attempt in attempts
        ]

    def _attempt(self, commit: Commit) -> Attempt | Exception:
        base = commit.base
        old = self._standing.pop(base.record.key, base)
        if old.record.version < base.record.version:
            old = Standing(base.record, base.document, old.conflicts)
        try:
            wanted = self._rebuild(old, commit)
            is_renewed = commit.renewed_to is not None
            tombstone = self._tombstone(old.record, wanted.record) if is_renewed else None
            return Attempt(old, wanted, tombstone)
        except Exception as error:  # noqa: BLE001 - it is raised for the caller of this commit
            return error

    def _answer(
        self, attempt: Attempt, outcome: Outcome | StoreError
    ) -> Result | Again | Exception:
        key, wanted = attempt.old.record.key, attempt.wanted
        match outcome:
            case Saved():
                if wanted.record.key == key and self._commits.has_waiting(key):
                    self._standing[key] = Standing(wanted.record, wanted.document)
                return wanted
            case Conflict(winner) if winner.key == key:
                conflicts = attempt.old.conflicts + 1
                if conflicts > MAX_CONFLICTS:
                    return StoreError(TOO_MANY)
                self._standing[key] = Standing(winner, conflicts=conflicts)
                return AGAIN
        return outcome


def _last(attempt: Attempt, outcomes: Iterator[Outcome | StoreError]) -> Outcome | StoreError:
    """Return the outcome of the session's swap; that of the tombstone does not matter."""
    if attempt.tombstone is not None:
        next(outcomes)
    return next(outcomes)
