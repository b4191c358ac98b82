"""A store in the memory of this process. It is also the simplest implementation of `Store`."""

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence

from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import (
    Conflict,
    Gone,
    Listed,
    Outcome,
    Saved,
    SessionFacts,
    SessionRecord,
    Swap,
    page_order,
)


class MemoryStore:
    """Keeps sessions in memory, for tests and for single-process servers.

    When the process ends, all users are logged out.
    """

    def __init__(self) -> None:
        self._records: dict[SessionKey, SessionRecord] = {}
        self._keys_by_user: dict[str, set[SessionKey]] = {}
        self._keys_by_handle: dict[str, SessionKey] = {}
        # An entry may be earlier than its record's expiry, never later; purge checks the record.
        self._expiries: list[tuple[int, SessionKey]] = []

    @classmethod
    def from_url(cls, url: str) -> "MemoryStore":
        """Return a new, empty store for the URL `memory://`."""
        if url.partition("://")[2]:
            raise ConfigurationError("the memory store takes no path or options: memory://")
        return cls()

    def __str__(self) -> str:
        return "memory://"

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """Return the records under these keys."""
        return {key: self._records[key] for key in keys if key in self._records}

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        """Write several swaps and return one outcome for each, in the same order."""
        return [self._swap(swap) for swap in swaps]

    def _swap(self, swap: Swap) -> Outcome:
        old, new = swap
        standing = None if old is None else self._records.get(old.key)
        if old is not None:
            if standing is None:
                return Gone()
            if standing.version != old.version:
                return Conflict(standing)
        if (old is None or old.key != new.key) and new.key in self._records:
            return Conflict(self._records[new.key])
        if standing is not None:
            self._remove(standing.key)
        self._add(new)
        if standing is None or standing.key != new.key or new.expires_at < standing.expires_at:
            self._note_expiry(new)
        return Saved()

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Write later times to records whose key and version match."""
        for record in records:
            standing = self._records.get(record.key)
            if (
                standing is not None
                and standing.version == record.version
                and standing.accessed_at < record.accessed_at
                and standing.expires_at <= record.expires_at
            ):
                self._records[record.key] = standing._replace(
                    accessed_at=record.accessed_at, expires_at=record.expires_at
                )

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Delete records; return the keys of those that existed."""
        return {key for key in keys if self._remove(key)}

    async def find_by_user(self, user_id: str, /) -> Sequence[SessionFacts]:
        """Return all records of a user, newest first, without their data."""
        found = (self._records[key].facts for key in self._keys_by_user.get(user_id, ()))
        return sorted(found, key=lambda record: (-record.created_at, record.key))

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """Return the records that have these handles."""
        keys = (self._keys_by_handle.get(handle) for handle in handles)
        return [self._records[key] for key in keys if key is not None]

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[SessionFacts]:
        """Return the next *limit* records by expiry, then by key, without their data."""
        found: Iterable[SessionRecord] = self._records.values()
        if after is not None:
            start = page_order(after)
            found = (one for one in found if page_order(one) > start)
        return [record.facts for record in heapq.nsmallest(limit, found, key=page_order)]

    async def count(self, after: int = 0, /) -> int:
        """Return how many records expire after a moment."""
        return sum(record.expires_at > after for record in self._records.values())

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* expired records; return how many."""
        purged = 0
        while purged < limit and self._expiries and self._expiries[0][0] <= now:
            _, key = heapq.heappop(self._expiries)
            record = self._records.get(key)
            if record is None:
                continue
            if record.expires_at <= now:
                self._remove(key)
                purged += 1
            else:
                heapq.heappush(self._expiries, (record.expires_at, key))
        return purged

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""

    def _note_expiry(self, record: SessionRecord) -> None:
        if record.expires_at > 0:  # a purge must not delete others
            heapq.heappush(self._expiries, (record.expires_at, record.key))

    def _add(self, record: SessionRecord) -> None:
        self._records[record.key] = record
        self._keys_by_handle[record.handle] = record.key
        if record.user_id is not None:
            self._keys_by_user.setdefault(record.user_id, set()).add(record.key)

    def _remove(self, key: SessionKey) -> bool:
        record = self._records.pop(key, None)
        if record is None:
            return False
        self._keys_by_handle.pop(record.handle, None)
        if record.user_id is not None:
            keys = self._keys_by_user[record.user_id]
            keys.discard(key)
            if not keys:
                del self._keys_by_user[record.user_id]
        return True
