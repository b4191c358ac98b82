"""The store over a SQL database: SQLite, PostgreSQL, MariaDB or MySQL."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import (
    AGAIN,
    Conflict,
    Listed,
    Outcome,
    SessionFacts,
    SessionRecord,
    Swap,
    in_parts,
)
from hello_tornado.sessions.stores.failures import Taken, TakenBack
from hello_tornado.sessions.stores.sql import statements
from hello_tornado.sessions.stores.sql.database import SqlDatabase
from hello_tornado.sessions.stores.sql.saves import save, save_free
from hello_tornado.sessions.stores.sql.schema import metadata

HELD_PAUSE_SECONDS: Final = 0.05
CREATE_TRIES: Final = 3


class SqlStore:
    """A store over one database; `from_url` opens it."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self.limit_seconds = database.limit_seconds
        self._held: set[SessionKey] = set()  # rows that others held when they were last asked for

    def __str__(self) -> str:
        return str(self._database)

    @classmethod
    def from_url(cls, text: str) -> "SqlStore":
        """The store of a SQLAlchemy URL, in its everyday form or with a driver."""
        return cls(SqlDatabase.from_url(text, metadata))

    @property
    def database(self) -> SqlDatabase:
        """The database, for questions about something other than sessions."""
        return self._database

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """The records under these keys."""
        return await self._database.read(statements.load, keys)

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        """One outcome for each swap, in order; `AGAIN` for a row that somebody else holds."""
        outcomes: list[Outcome] = []
        for part in in_parts(swaps):
            try:
                outcomes += await self._save(part)
            except Taken:
                outcomes += [await self._save_one(swap) for swap in part]
        return outcomes

    async def _save(self, swaps: Sequence[Swap]) -> Sequence[Outcome]:
        if not self._held or not any(old and old.key in self._held for old, _ in swaps):
            try:
                return await self._database.write(save, swaps)
            except TakenBack:  # the rows that nobody holds need not wait for the others
                pass
        outcomes = await self._database.transact(save_free, swaps)
        answered = zip(swaps, outcomes, strict=True)
        self._held = {old.key for (old, _), outcome in answered if old and outcome is AGAIN}
        if len(self._held) == len(swaps):
            await asyncio.sleep(HELD_PAUSE_SECONDS)
        return outcomes

    async def _save_one(self, swap: Swap) -> Outcome:
        is_new_key = swap.old is None or swap.old.key != swap.new.key
        for _ in range(CREATE_TRIES):
            try:
                (outcome,) = await self._save([swap])
            except Taken as error:
                found = await self.load([swap.new.key]) if is_new_key else {}
                if found:
                    return Conflict(found[swap.new.key])
                taken = error  # what stood in the way has been deleted meanwhile
            else:
                return outcome
        raise taken

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Later times where key and version stand."""
        try:
            await self._database.write(statements.touch, records)
        except TakenBack:
            await self._database.transact(statements.touch_free, records)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Remove records; returns the keys of those that were there."""
        return await self._database.transact(statements.remove, keys)

    async def find_by_user(self, user_id: str, /) -> Sequence[SessionFacts]:
        """All records of a user, newest first, without their data."""
        return await self._database.read(statements.find_by_user, user_id)

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """The records that have these handles."""
        return await self._database.read(statements.find_by_handle, handles)

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[SessionFacts]:
        """The next *limit* records by expiry, then by key, without their data."""
        return await self._database.scan(statements.page, after, limit)

    async def count(self, after: int = 0, /) -> int:
        """How many records expire after a moment."""
        return await self._database.scan(statements.count, after)

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* expired records."""
        return await self._database.transact(statements.purge, now, limit)

    async def aclose(self) -> None:
        """Close the connections, and the threads they live in."""
        await self._database.aclose()
