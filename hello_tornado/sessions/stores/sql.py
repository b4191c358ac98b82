"""The store over a SQL database: SQLite, PostgreSQL, MariaDB or MySQL."""

from collections.abc import Collection, Mapping, Sequence

from hello_tornado.sessions.ids import SessionKey
from hello_tornado.sessions.record import Conflict, Outcome, SessionRecord, Swap
from hello_tornado.sessions.stores import statements
from hello_tornado.sessions.stores.saves import save
from hello_tornado.sessions.stores.schema import metadata
from hello_tornado.sessions.stores.sql_database import SqlDatabase, Taken


class SqlStore:
    """A store over one database; `from_url` opens it."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    def __str__(self) -> str:
        return str(self._database)

    @classmethod
    def from_url(cls, text: str) -> "SqlStore":
        """The store of a SQLAlchemy URL, in its everyday form or with a driver."""
        return cls(SqlDatabase.from_url(text, metadata))

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """The records under these keys."""
        return await self._database.read(statements.load, keys)

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        """One outcome for each swap, in order."""
        try:
            return await self._database.write(save, swaps)
        except Taken:
            return [await self._save_one(swap) for swap in swaps]

    async def _save_one(self, swap: Swap) -> Outcome:
        try:
            (outcome,) = await self._database.write(save, [swap])
        except Taken:
            is_new_key = swap.old is None or swap.old.key != swap.new.key
            found = await self.load([swap.new.key]) if is_new_key else {}
            if not found:
                raise
            return Conflict(found[swap.new.key])
        return outcome

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Later times where key and version stand."""
        await self._database.write(statements.touch, records)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Remove records; returns the keys of those that were there."""
        return await self._database.write(statements.remove, keys)

    async def find_by_user(self, user_id: str, /) -> Sequence[SessionRecord]:
        """All records of a user, newest first."""
        return await self._database.read(statements.find_by_user, user_id)

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """The records that have these handles."""
        return await self._database.read(statements.find_by_handle, handles)

    async def page(self, after: SessionRecord | None, limit: int, /) -> Sequence[SessionRecord]:
        """The next *limit* records by expiry, then by key."""
        return await self._database.survey(statements.page, after, limit)

    async def count(self, after: int = 0, /) -> int:
        """How many records expire after a moment."""
        return await self._database.survey(statements.count, after)

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* expired records."""
        return await self._database.write(statements.purge, now, limit)

    async def aclose(self) -> None:
        """Close the connections, and the threads they live in."""
        await self._database.aclose()
