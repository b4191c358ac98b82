"""The one way in which sessions end: delete, leave a tombstone, announce, tell the hooks.

A logout, a revocation, a session limit and `clear()` all come through here.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

from hello_tornado.sessions.errors import StoreError
from hello_tornado.sessions.events import Ended, EndedReason, SessionEvent, TombstoneFailed
from hello_tornado.sessions.manager.codec import Codec
from hello_tornado.sessions.records.ids import SessionKey, is_handle
from hello_tornado.sessions.records.record import Conflict, Listed, SessionRecord, Swap
from hello_tornado.sessions.records.tombstones import ERA, JUST_NOW, Tombstone, tombstone_key_of
from hello_tornado.sessions.records.values import check_handle
from hello_tornado.sessions.stores import Announcing, Store

Find: TypeAlias = Callable[[], Awaitable[Sequence[Listed]]]


class Endings:
    """Ends sessions in *store*, and says for *remembered* microseconds afterwards why."""

    def __init__(
        self,
        store: Store,
        codec: Codec,
        clock: Callable[[], int],
        remembered: int,
        emit: Callable[[SessionEvent], None],
    ) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._remembered = remembered
        self._emit = emit

    async def end(
        self, records: Sequence[Listed], reason: EndedReason, *, is_told: bool = True
    ) -> int:
        """End these sessions; returns how many of them were still there.

        Unless the reason *is_told* afterwards, no tombstone is left.
        """
        if is_told:  # before the session goes: a request in between must find one or the other
            await self._leave_tombstones(records, reason)
        deleted = await self._store.delete([record.key for record in records])
        if not deleted:
            return 0
        ended = [record for record in records if record.key in deleted]
        if isinstance(self._store, Announcing):
            with suppress(StoreError):  # then the other processes see it when they look
                await self._store.announce([record.handle for record in ended])
        for record in ended:
            self._emit(Ended(record.handle, record.user_id, reason))
        return len(ended)

    async def end_found(self, find: Find, reason: EndedReason) -> int:
        """End what *find* finds, until it finds nothing: an id may be renewed in between."""
        count = 0
        while records := await find():
            count += await self.end(records, reason)
        return count

    async def end_user(
        self, user_id: str, reason: EndedReason, keep: Collection[str | None] = ()
    ) -> int:
        """End all sessions of a user but those whose handles are in *keep*; returns how many."""

        async def find() -> Sequence[Listed]:
            records = await self._store.find_by_user(user_id)
            return [record for record in records if record.handle not in keep]

        return await self.end_found(find, reason)

    async def end_by_handle(
        self, handles: Collection[str], reason: EndedReason, user_id: str | None = None
    ) -> int:
        """End the sessions with these handles, under whichever ids they stand by now.

        With *user_id* only those that are this user's.
        """

        async def find() -> Sequence[Listed]:
            found = await self.find_by_handle(handles)
            return [one for one in found if user_id is None or one.user_id == user_id]

        return await self.end_found(find, reason)

    async def find_by_handle(self, handles: Collection[str]) -> Sequence[SessionRecord]:
        """The records with these handles; `TypeError` if one is no str.

        The store is not asked for text that cannot be a handle: some could not even store it.
        """
        for given in handles:
            check_handle(given)
        known = [given for given in handles if is_handle(given)]
        return await self._store.find_by_handle(known) if known else []

    async def _leave_tombstones(self, records: Sequence[Listed], reason: EndedReason) -> None:
        if not self._remembered or reason is EndedReason.EXPIRED:
            return
        now = self._clock()
        tombstones = [Tombstone(reason, record.handle, now) for record in records]
        swaps = [
            Swap(None, self._tombstone(record, tombstone))
            for record, tombstone in zip(records, tombstones, strict=True)
        ]
        try:
            outcomes = await self._store.save(swaps)
            if renewals := [
                Swap(
                    outcome.current,
                    self._tombstone(record, tombstone, outcome.current.version + 1),
                )
                for record, tombstone, outcome in zip(records, tombstones, outcomes, strict=True)
                if isinstance(outcome, Conflict) and self._is_of_a_renewal(outcome.current)
            ]:
                await self._store.save(renewals)  # the session has ended since, or instead
        except StoreError as error:
            self._emit(TombstoneFailed(str(error)))  # the sessions are over all the same

    def _is_of_a_renewal(self, record: SessionRecord) -> bool:
        tombstone = self._codec.read_tombstone(record)
        return tombstone is not None and tombstone.reason is EndedReason.RENEWED

    def renewal(self, old: SessionRecord, new: SessionRecord) -> SessionRecord | None:
        """The tombstone to be stored with a renewal: of the id of *old*, which *new* replaces."""
        if not self._remembered:
            return None
        goes_on = (old.handle, old.user_id) == (new.handle, new.user_id)
        tombstone = Tombstone(EndedReason.RENEWED, old.handle, self._clock(), goes_on)
        return self._tombstone(old, tombstone)

    def _tombstone(self, ended: Listed, tombstone: Tombstone, version: int = 1) -> SessionRecord:
        return self._codec.tombstone(ended.key, tombstone, self._remembered, version)

    async def forget(self, limit: int) -> int:
        """Delete up to *limit* tombstones that no longer count; returns how many there were."""
        page = await self._store.page(None, limit)
        over = [record.key for record in page if record.expires_at <= self._clock() - ERA]
        if over:
            await self._store.delete(over)
        return len(over)

    def read(self, record: SessionRecord | None) -> Tombstone | None:
        """The tombstone in *record*, if it is one that still counts."""
        tombstone = None if record is None else self._codec.read_tombstone(record)
        if tombstone is None or self._clock() - tombstone.ended_at >= self._remembered:
            return None
        return tombstone

    @property
    def unexplained(self) -> EndedReason | None:
        """Why a session ended of which there is nothing but its id: it has expired.

        An id that we have signed was stored once, and a logout or a revocation leaves a tombstone.
        """
        return EndedReason.EXPIRED if self._remembered else None

    def is_just_now(self, tombstone: Tombstone) -> bool:
        """Whether a request with the old id may have been under way when it was replaced."""
        return self._clock() - tombstone.ended_at < JUST_NOW

    async def reasons(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, EndedReason]:
        """Why the sessions under these keys have ended, as far as tombstones say."""
        asked = {tombstone_key_of(key): key for key in keys}
        found = await self._store.load(asked)
        tombstones = {asked[name]: self.read(record) for name, record in found.items()}
        return {
            key: one.reason
            for key, one in tombstones.items()
            if one is not None and one.reason is not EndedReason.RENEWED
        }
