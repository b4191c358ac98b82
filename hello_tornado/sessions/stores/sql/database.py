"""A SQL database as we use one: functions of a connection, run where they block nobody."""

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, MetaData
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import ArgumentError

from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.stores.connections import Connections
from hello_tornado.sessions.stores.deadlines import LIMIT_SECONDS, Wait
from hello_tornado.sessions.stores.failures import Taken, TakenBack
from hello_tornado.sessions.stores.sql.schema import in_schema
from hello_tornado.sessions.stores.sql.sqlite import SqliteThreads
from hello_tornado.sessions.stores.sql.url import Target, target_of

if TYPE_CHECKING:  # SQLite needs neither, and they take a quarter of a command's start
    from sqlalchemy.ext.asyncio import AsyncConnection

    from hello_tornado.sessions.stores.sql.server import SqlServer

P = ParamSpec("P")
R = TypeVar("R")

PAUSE_SECONDS = 0.02  # on average, before a transaction that was taken back is repeated

__all__ = ["SqlDatabase", "Taken"]


class Runner(Protocol):
    """Where functions of a connection run; their errors are a `StoreError` there already."""

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function* on a connection in AUTOCOMMIT."""

    async def scan(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The same on another connection, so that no `read` waits for what takes its time."""

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function*, which begins and ends its own transaction."""

    async def aclose(self) -> None:
        """Close every connection."""


class SqlDatabase:
    """One database; `from_url` opens it. What goes wrong is a `StoreError`."""

    def __init__(
        self,
        runner: Runner,
        name: str,
        dialect: Dialect,
        *,
        limit: float = LIMIT_SECONDS,
        server: "SqlServer | None" = None,
    ) -> None:
        self.limit_seconds = limit
        self.dialect = dialect
        self._runner = runner
        self._name = name
        self._server = server
        self.read = runner.read
        self.scan = runner.scan
        self.write = runner.write

    def __str__(self) -> str:
        return self._name

    @classmethod
    def from_url(cls, text: str, metadata: MetaData) -> "SqlDatabase":
        """The database of a SQLAlchemy URL, in its everyday form or with a driver.

        The tables of *metadata* are made where they are missing, unless it says `create=false`, in
        the schema that it names.
        """
        target = target_of(text)
        return cls.at(target, in_schema(metadata, target.name.schema))

    @classmethod
    def at(cls, target: Target, metadata: MetaData) -> "SqlDatabase":
        """The database of *target*; the tables of *metadata* say in which schema they are."""
        if target.url.get_backend_name() == "sqlite":
            threads = SqliteThreads(target, metadata)
            return cls(threads, target.shown, threads.dialect, limit=target.limit)
        from hello_tornado.sessions.stores.sql.server import SqlServer  # noqa: PLC0415 - see above

        try:
            server = SqlServer(target, metadata)
        except ArgumentError as error:
            raise ConfigurationError(f"the store's URL cannot be used: {error}") from None
        connections = Connections(server, target.limit)
        return cls(connections, target.shown, server.dialect, limit=target.limit, server=server)

    async def transact(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function*, which is one transaction.

        It is repeated, as long as the time allows, when the database has taken it back.
        """
        wait = Wait()
        while True:
            try:
                with wait:
                    return await self.write(function, *args, **kwargs)
            except TakenBack:
                with wait:
                    await asyncio.sleep(2 * PAUSE_SECONDS * random.random())  # noqa: S311

    def connect(self) -> "AsyncConnection":
        """A connection of the caller's own: `async with database.connect() as connection`."""
        assert self._server is not None  # noqa: S101 - SQLite is not asked for one
        return self._server.connect()

    async def aclose(self) -> None:
        """Close the connections, and the threads they live in."""
        await self._runner.aclose()
