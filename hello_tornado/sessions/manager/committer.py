"""How changes reach the store: fold what waits, swap it in, and replay it on whatever won instead.

While one write is under way the next commits gather. Then those to one session go together as a
single swap, in the order in which they came, and the swaps of all sessions as a single save. A
conflict means that somebody else wrote, as a rule another process: the commit stays at the head of
its line, and its changes are replayed (rebased) on what won.
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
BREATH: Final = 256 * 1024  # bytes that are built before others may run


@immutable
class Standing:
    """The record that we expect in the store, and its document if it was read already."""

    record: SessionRecord
    document: Document | None = None
    conflicts: int = 0  # in a row, before this record was found


@immutable
class Commit:
    """One request's changes to the session that it loaded as `base`.

    `renewed_to` is the key of the session's new id, if it gets one, and `renewal` says how.
    """

    base: Standing
    changes: Update
    renewed_to: SessionKey | None = None
    renewal: Renewal | None = None

    def then(self, later: "Commit") -> "Commit | None":
        """This commit, followed by *later*, as one; None after a renewal: the old id is dead."""
        if self.renewed_to is not None:
            return None
        is_newer = self.base.record.version > later.base.record.version
        base = self.base if is_newer else later.base
        changes = self.changes.merged_with(later.changes)
        return Commit(base, changes, later.renewed_to, later.renewal)


class Committed(NamedTuple):
    """What stands in the store after a commit."""

    record: SessionRecord
    document: Document


Result: TypeAlias = Committed | Conflict | Gone
Rebuild: TypeAlias = Callable[[Standing, Commit], Committed]
"""Applies a commit to what stands: what should stand instead."""


@immutable
class Attempt:
    """A commit, rebuilt on the newest record that is known; a renewal leaves a tombstone."""

    old: Standing
    wanted: Committed
    tombstone: SessionRecord | None = None

    @property
    def swaps(self) -> Sequence[Swap]:
        """What is to be saved; that of the session itself comes last."""
        swap = Swap(self.old.record, self.wanted.record)
        return [swap] if self.tombstone is None else [Swap(None, self.tombstone), swap]


class Committer:
    """Brings commits into the store, many at once."""

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
        # Records that are newer than the ones which the waiting requests have loaded.
        self._standing: dict[SessionKey, Standing] = {}

    def commit(self, commit: Commit) -> Awaitable[Result]:
        """Store *commit*, merged with what others did meanwhile.

        `Gone` when the session ended, or got another id; `Conflict` when the id that it was to be
        renewed to is taken. In both cases nothing of it is stored.
        """
        return self._commits(commit.base.record.key, commit)

    async def _store(self, commits: Sequence[Commit]) -> Sequence[Result | Again | Exception]:
        """One save for all that can be built."""
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
            self._standing.clear()  # nobody knows what stands
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
        except Exception as error:  # noqa: BLE001 - it goes to whoever made this commit
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
    """The outcome of the session's own swap; a tombstone may be there already."""
    if attempt.tombstone is not None:
        next(outcomes)
    return next(outcomes)
