"""The only place where sessions end: stores a tombstone, deletes, announces, and emits events.

Logouts, revocations, session limits and `clear()` all use it.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

from hello_tornado.sessions.errors import StoreError
from hello_tornado.sessions.events import (
    Ended,
    EndedReason,
    LimitFailed,
    SessionEvent,
    TombstoneFailed,
)
from hello_tornado.sessions.manager.codec import Codec
from hello_tornado.sessions.records.ids import SessionKey, is_handle
from hello_tornado.sessions.records.record import Conflict, Listed, SessionRecord, Swap
from hello_tornado.sessions.records.tombstones import ERA, JUST_NOW, Tombstone, tombstone_key_of
from hello_tornado.sessions.records.values import check_handle
from hello_tornado.sessions.stores import Announcing, Store

Find: TypeAlias = Callable[[], Awaitable[Sequence[Listed]]]


class Endings:
    """Ends sessions and keeps the reasons.

    Args:
        store: The store of the sessions.
        codec: Builds and reads the records of tombstones.
        clock: Returns the present moment in microseconds since 1970.
        remembered: How long tombstones are kept, in microseconds; 0 for none.
        emit: Called with events.

    """

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
        """End these sessions and return how many still existed.

        Args:
            records: The sessions.
            reason: Why they end.
            is_told: Whether tombstones keep the reason (True).

        """
        if is_told:  # first, so that a request finds the session or the tombstone at any time
            await self._leave_tombstones(records, reason)
        deleted = await self._store.delete([record.key for record in records])
        if not deleted:
            return 0
        ended = [record for record in records if record.key in deleted]
        if isinstance(self._store, Announcing):
            with suppress(StoreError):  # then other processes notice it at their next check
                await self._store.announce([record.handle for record in ended])
        for record in ended:
            self._emit(Ended(record.handle, record.user_id, reason))
        return len(ended)

    async def end_found(self, find: Find, reason: EndedReason) -> int:
        """End the sessions that *find* returns until it returns none, as ids may be renewed."""
        count = 0
        while records := await find():
            count += await self.end(records, reason)
        return count

    async def end_user(
        self, user_id: str, reason: EndedReason, keep: Collection[str | None] = ()
    ) -> int:
        """End all sessions of a user except those with a handle in *keep*; return how many."""

        async def find() -> Sequence[Listed]:
            records = await self._store.find_by_user(user_id)
            return [record for record in records if record.handle not in keep]

        return await self.end_found(find, reason)

    async def end_oldest(self, find: Find, most: int, login: SessionRecord) -> None:
        """After a *login*, end all but the *most* first sessions that *find* returns.

        All logins use the same order, so concurrent logins end the same sessions. The login is
        stored and the browser needs its cookie, so a failure is only an event.
        """
        try:
            found = await find()
            await self.end_by_handle([one.handle for one in found[most:]], EndedReason.REVOKED)
        except StoreError as error:
            self._emit(LimitFailed(login.handle, str(login.user_id), str(error)))

    async def end_by_handle(
        self, handles: Collection[str], reason: EndedReason, user_id: str | None = None
    ) -> int:
        """End the sessions with these handles, also if their ids have changed; return how many.

        With *user_id*, only those of this user.
        """

        async def find() -> Sequence[Listed]:
            found = await self.find_by_handle(handles)
            return [one for one in found if user_id is None or one.user_id == user_id]

        return await self.end_found(find, reason)

    async def find_by_handle(self, handles: Collection[str]) -> Sequence[SessionRecord]:
        """Return the records with these handles; raise `TypeError` if one is not a str.

        Texts that cannot be handles are not passed to the store, because some databases raise an
        error for texts that they cannot store.
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
            self._emit(TombstoneFailed(str(error)))  # the sessions end nevertheless

    def _is_of_a_renewal(self, record: SessionRecord) -> bool:
        tombstone = self._codec.read_tombstone(record)
        return tombstone is not None and tombstone.reason is EndedReason.RENEWED

    def renewal(self, old: SessionRecord, new: SessionRecord) -> SessionRecord | None:
        """Return the record of the tombstone for a renewal of *old* to *new*, or None."""
        if not self._remembered:
            return None
        goes_on = (old.handle, old.user_id) == (new.handle, new.user_id)
        tombstone = Tombstone(EndedReason.RENEWED, old.handle, self._clock(), goes_on)
        return self._tombstone(old, tombstone)

    def _tombstone(self, ended: Listed, tombstone: Tombstone, version: int = 1) -> SessionRecord:
        return self._codec.tombstone(ended.key, tombstone, self._remembered, version)

    async def forget(self, limit: int) -> int:
        """Delete up to *limit* expired tombstones; return how many."""
        page = await self._store.page(None, limit)
        over = [record.key for record in page if record.expires_at <= self._clock() - ERA]
        if over:
            await self._store.delete(over)
        return len(over)

    def read(self, record: SessionRecord | None) -> Tombstone | None:
        """Return the tombstone in *record*, or None if it is not one or has expired."""
        tombstone = None if record is None else self._codec.read_tombstone(record)
        if tombstone is None or self._clock() - tombstone.ended_at >= self._remembered:
            return None
        return tombstone

    @property
    def unexplained(self) -> EndedReason | None:
        """Why a session ended if the store has neither it nor a tombstone: it has expired.

        An id with our signature was stored once, and a logout or a revocation leaves a tombstone.
        None if tombstones are switched off.
        """
        return EndedReason.EXPIRED if self._remembered else None

    def is_just_now(self, tombstone: Tombstone) -> bool:
        """Whether a request with the old id may have been sent before the id was replaced."""
        return self._clock() - tombstone.ended_at < JUST_NOW

    async def reasons(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, EndedReason]:
        """Return why sessions ended, for those of these keys that have a tombstone."""
        asked = {tombstone_key_of(key): key for key in keys}
        found = await self._store.load(asked)
        tombstones = {asked[name]: self.read(record) for name, record in found.items()}
        return {
            key: one.reason
            for key, one in tombstones.items()
            if one is not None and one.reason is not EndedReason.RENEWED
        }
