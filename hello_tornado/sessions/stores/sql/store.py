"""The store for SQL databases: SQLite, PostgreSQL, MariaDB and MySQL."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from sqlalchemy import Table

from hello_tornado.sessions.errors import StoreError, StoreUnavailable
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
from hello_tornado.sessions.stores.deadlines import LIMIT_SECONDS
from hello_tornado.sessions.stores.failures import ABOUT_ALL, Taken, TakenBack
from hello_tornado.sessions.stores.sql.database import SqlDatabase
from hello_tornado.sessions.stores.sql.names import DEFAULT_TABLE
from hello_tornado.sessions.stores.sql.postgresql import Notices
from hello_tornado.sessions.stores.sql.saves import Saves
from hello_tornado.sessions.stores.sql.schema import sessions_table
from hello_tornado.sessions.stores.sql.statements import Statements
from hello_tornado.sessions.stores.sql.url import Target, target_of

if TYPE_CHECKING:  # SQLite does not need it, and importing it is slow
    from sqlalchemy.ext.asyncio import AsyncEngine

HELD_PAUSE_SECONDS: Final = 0.05
CREATE_TRIES: Final = 3


class SqlStore:
    """A store in a table of SQLite, PostgreSQL, MariaDB or MySQL.

    `open_store`, `from_url` or `from_engine` opens one.
    """

    def __init__(self, database: SqlDatabase, table: Table) -> None:
        self._database = database
        self._statements = Statements(table, database.dialect)
        self._saves = Saves(table, self._statements, database.dialect)
        self.limit_seconds = database.limit_seconds
        self._held: set[SessionKey] = set()  # rows that were locked at their last save

    def __str__(self) -> str:
        return str(self._database)

    @classmethod
    def from_url(cls, text: str) -> "SqlStore":
        """Return the store of a SQLAlchemy URL, with or without a driver in its scheme.

        Args:
            text: The URL. Its options are `table` and `schema` (as in `open_store`), `timeout` (the
                time limit of a call, 3 seconds) and `create` (whether a missing table is created,
                true).

        Raises:
            ConfigurationError: The URL or an option is invalid.

        """
        return _store_at(target_of(text))

    @classmethod
    def from_engine(
        cls,
        engine: "AsyncEngine",
        *,
        table: str = DEFAULT_TABLE,
        schema: str | None = None,
        timeout: float = LIMIT_SECONDS,
        create: bool = True,
    ) -> "SqlStore":
        """Return a store in the database of an application's SQLAlchemy *engine*.

        The store opens three separate connections in the same way as the engine does: with its URL,
        arguments and creator, and with the listeners of its events `do_connect` and `connect`. It
        uses no connection of the engine's pool and does not close the engine.

        Args:
            engine: An `AsyncEngine` with the driver psycopg, asyncpg or asyncmy.
            table: The name of the table (`sessions`).
            schema: Its schema in PostgreSQL, or its database in MariaDB (None: the default of the
                connections).
            timeout: The time limit of each call, in seconds (3).
            create: Whether the table is created on first use if it is missing (True).

        Raises:
            ConfigurationError: The engine is of another kind, or another argument is invalid.

        """
        from hello_tornado.sessions.stores.sql.engines import target_of_engine  # noqa: PLC0415

        target = target_of_engine(
            engine, table=table, schema=schema, timeout=timeout, create=create
        )
        return _store_at(target)

    @property
    def database(self) -> SqlDatabase:
        """The database, for queries about something other than sessions."""
        return self._database

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """Return the records under these keys."""
        return await self._database.read(self._statements.load, keys)

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome | StoreError]:
        """Write several swaps; return one outcome for each, `AGAIN` for locked rows."""
        outcomes: list[Outcome | StoreError] = []
        for part in in_parts(swaps):
            try:
                outcomes += await self._save(part)
            except Taken:
                outcomes += [await self._save_alone(swap) for swap in part]
            except ABOUT_ALL:
                raise
            except StoreError:
                if not outcomes:  # nothing of the call was written
                    raise
                outcomes += [await self._save_alone(swap) for swap in part]
        return outcomes

    async def _save_alone(self, swap: Swap) -> Outcome | StoreError:
        """What became of one of several swaps; what the database refuses is about it alone."""
        try:
            return await self._save_one(swap)
        except ABOUT_ALL:
            raise
        except StoreError as error:
            return error

    async def _save(self, swaps: Sequence[Swap]) -> Sequence[Outcome]:
        if not self._held or not any(old and old.key in self._held for old, _ in swaps):
            try:
                return await self._database.write(self._saves.save, swaps)
            except TakenBack:  # the rows that are not locked need not wait for the others
                pass
        outcomes = await self._database.transact(self._saves.save_free, swaps)
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
                taken = error  # the record with this key has been deleted since
            else:
                return outcome
        raise taken

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Write later times to records whose key and version match."""
        try:
            await self._database.write(self._statements.touch, records)
        except TakenBack:
            await self._database.transact(self._statements.touch_free, records)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Delete records; return the keys of those that existed."""
        return await self._database.transact(self._statements.remove, keys)

    async def find_by_user(self, user_id: str, /) -> Sequence[SessionFacts]:
        """Return all records of a user, newest first, without their data."""
        return await self._database.read(self._statements.find_by_user, user_id)

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """Return the records that have these handles."""
        return await self._database.read(self._statements.find_by_handle, handles)

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[SessionFacts]:
        """Return the next *limit* records by expiry, then by key, without their data."""
        return await self._database.scan(self._statements.page, after, limit)

    async def count(self, after: int = 0, /) -> int:
        """Return how many records expire after a moment."""
        return await self._database.scan(self._statements.count, after)

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* expired records; return how many."""
        return await self._database.transact(self._statements.purge, now, limit)

    async def aclose(self) -> None:
        """Close all connections and end their threads."""
        await self._database.aclose()


class PostgresqlStore(SqlStore):
    """A store in PostgreSQL. `announcements` uses a separate connection.

    Behind a pooler it announces nothing, and the watcher finds ended sessions at its next check.
    """

    def __init__(self, database: SqlDatabase, table: Table) -> None:
        super().__init__(database, table)
        self._notices = Notices(table, database.dialect)

    async def announce(self, handles: Collection[str], /) -> None:
        """Notify all processes that sessions with these handles have ended."""
        await self._database.write(self._notices.notify, handles)

    async def announcements(self) -> AsyncGenerator[Collection[str]]:
        """Yield the handles that are announced from now on."""
        try:
            async with (
                self._database.connect() as connection,
                aclosing(self._notices.listen(connection)) as notices,
            ):
                async for handles in notices:
                    yield handles
        except Exception as error:  # each driver has its own errors, and SQLAlchemy wraps none here
            raise StoreUnavailable(f"the session store failed: {error}") from error


def _store_at(target: Target) -> SqlStore:
    """Return the store of *target*; a PostgreSQL store also announces ended sessions."""
    table = sessions_table(target.name)
    kind = PostgresqlStore if target.url.get_backend_name() == "postgresql" else SqlStore
    return kind(SqlDatabase.at(target, table.metadata), table)
