"""The store over a SQL database: SQLite, PostgreSQL, MariaDB or MySQL."""

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from sqlalchemy import Table

from hello_tornado.sessions.errors import StoreError, StoreMisconfigured, StoreUnavailable
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
from hello_tornado.sessions.stores.failures import Taken, TakenBack
from hello_tornado.sessions.stores.sql.database import SqlDatabase
from hello_tornado.sessions.stores.sql.names import DEFAULT_TABLE
from hello_tornado.sessions.stores.sql.postgresql import Notices
from hello_tornado.sessions.stores.sql.saves import Saves
from hello_tornado.sessions.stores.sql.schema import sessions_table
from hello_tornado.sessions.stores.sql.statements import Statements
from hello_tornado.sessions.stores.sql.url import Target, target_of

if TYPE_CHECKING:  # SQLite does not need it, and it takes a quarter of a command's start
    from sqlalchemy.ext.asyncio import AsyncEngine

HELD_PAUSE_SECONDS: Final = 0.05
CREATE_TRIES: Final = 3


class SqlStore:
    """A store over one table of a database; `from_url` or `from_engine` opens it."""

    def __init__(self, database: SqlDatabase, table: Table) -> None:
        self._database = database
        self._statements = Statements(table, database.dialect)
        self._saves = Saves(table, self._statements, database.dialect)
        self.limit_seconds = database.limit_seconds
        self._held: set[SessionKey] = set()  # rows that others held when they were last asked for

    def __str__(self) -> str:
        return str(self._database)

    @classmethod
    def from_url(cls, text: str) -> "SqlStore":
        """The store of a SQLAlchemy URL, in its everyday form or with a driver.

        The URL's options `table` and `schema` say what the table is called and where it is.
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
        """A store in the database of an application's SQLAlchemy *engine*.

        The engine's drivers are psycopg, asyncpg or asyncmy. The store opens three connections of
        its own, in the way in which the engine opens one: with its URL and arguments, its creator,
        and the functions that listen to its events `do_connect` and `connect`. It takes none from
        the engine's pool, and does not close the engine.

        Args:
            engine: what `create_async_engine` returned.
            table: the name of the table.
            schema: its schema in PostgreSQL, or its database in MariaDB. None: where the
                connections look by themselves.
            timeout: the seconds that each call may take.
            create: whether the table is made at the first use if it is missing.

        Raises:
            ConfigurationError: *engine* is another kind of engine, or a name cannot be one.

        """
        from hello_tornado.sessions.stores.sql.engines import target_of_engine  # noqa: PLC0415

        target = target_of_engine(
            engine, table=table, schema=schema, timeout=timeout, create=create
        )
        return _store_at(target)

    @property
    def database(self) -> SqlDatabase:
        """The database, for questions about something other than sessions."""
        return self._database

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """The records under these keys."""
        return await self._database.read(self._statements.load, keys)

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome | StoreError]:
        """One outcome for each swap, in order; `AGAIN` for a row that somebody else holds."""
        outcomes: list[Outcome | StoreError] = []
        for part in in_parts(swaps):
            try:
                outcomes += await self._save(part)
            except Taken:
                outcomes += [await self._save_alone(swap) for swap in part]
            except (StoreUnavailable, StoreMisconfigured):
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
        except (StoreUnavailable, StoreMisconfigured):
            raise
        except StoreError as error:
            return error

    async def _save(self, swaps: Sequence[Swap]) -> Sequence[Outcome]:
        if not self._held or not any(old and old.key in self._held for old, _ in swaps):
            try:
                return await self._database.write(self._saves.save, swaps)
            except TakenBack:  # the rows that nobody holds need not wait for the others
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
                taken = error  # what stood in the way has been deleted meanwhile
            else:
                return outcome
        raise taken

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Later times where key and version stand."""
        try:
            await self._database.write(self._statements.touch, records)
        except TakenBack:
            await self._database.transact(self._statements.touch_free, records)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Remove records; returns the keys of those that were there."""
        return await self._database.transact(self._statements.remove, keys)

    async def find_by_user(self, user_id: str, /) -> Sequence[SessionFacts]:
        """All records of a user, newest first, without their data."""
        return await self._database.read(self._statements.find_by_user, user_id)

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """The records that have these handles."""
        return await self._database.read(self._statements.find_by_handle, handles)

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[SessionFacts]:
        """The next *limit* records by expiry, then by key, without their data."""
        return await self._database.scan(self._statements.page, after, limit)

    async def count(self, after: int = 0, /) -> int:
        """How many records expire after a moment."""
        return await self._database.scan(self._statements.count, after)

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* expired records."""
        return await self._database.transact(self._statements.purge, now, limit)

    async def aclose(self) -> None:
        """Close the connections, and the threads they live in."""
        await self._database.aclose()


class PostgresqlStore(SqlStore):
    """A store in PostgreSQL. `announcements` holds a connection of its own.

    Behind a pooler it announces nothing, and the watcher finds ended sessions when it looks.
    """

    def __init__(self, database: SqlDatabase, table: Table) -> None:
        super().__init__(database, table)
        self._notices = Notices(table, database.dialect)

    async def announce(self, handles: Collection[str], /) -> None:
        """Tell every process that listens."""
        await self._database.write(self._notices.notify, handles)

    async def announcements(self) -> AsyncGenerator[Collection[str]]:
        """What is announced from now on."""
        try:
            async with (
                self._database.connect() as connection,
                aclosing(self._notices.listen(connection)) as notices,
            ):
                async for handles in notices:
                    yield handles
        except Exception as error:  # each driver has errors of its own, and SQLAlchemy is not asked
            raise StoreUnavailable(f"the session store failed: {error}") from error


def _store_at(target: Target) -> SqlStore:
    """The store of *target*, which announces ends where its database can."""
    table = sessions_table(target.name)
    kind = PostgresqlStore if target.url.get_backend_name() == "postgresql" else SqlStore
    return kind(SqlDatabase.at(target, table.metadata), table)
