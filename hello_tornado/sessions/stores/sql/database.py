"""A SQL database: runs functions of a connection without blocking the event loop."""

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

if TYPE_CHECKING:  # SQLite needs neither, and importing them is a quarter of a command's start time
    from sqlalchemy.ext.asyncio import AsyncConnection

    from hello_tornado.sessions.stores.sql.server import SqlServer

P = ParamSpec("P")
R = TypeVar("R")

PAUSE_SECONDS = 0.02  # on average, before a transaction that was rolled back is repeated

__all__ = ["SqlDatabase", "Taken"]


class Runner(Protocol):
    """Runs functions of a connection and turns the errors of drivers into a `StoreError`."""

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return the result of *function* on a connection in AUTOCOMMIT."""

    async def scan(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Do the same on another connection, so that `read` does not wait for a long query."""

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return the result of *function*, which begins and ends its own transaction."""

    async def aclose(self) -> None:
        """Close all connections."""


class SqlDatabase:
    """A database; `from_url` opens one. Its methods raise a `StoreError` if a call fails.

    Args:
        runner: Runs functions of a connection.
        name: The URL to show, without the password.
        dialect: The dialect of SQLAlchemy.
        limit: How long a call may take, in seconds (3).
        server: Opens other connections; None for SQLite.

    """

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
        """Return the database of a SQLAlchemy URL, with or without a driver in its scheme.

        Missing tables of *metadata* are created in the URL's `schema`, unless the URL has
        `create=false`.
        """
        target = target_of(text)
        return cls.at(target, in_schema(metadata, target.name.schema))

    @classmethod
    def at(cls, target: Target, metadata: MetaData) -> "SqlDatabase":
        """Return the database of *target*; the tables of *metadata* have their schema already."""
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
        """Return the result of *function*, which is one transaction.

        If the database rolls it back, it is repeated until the time limit of a call.
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
        """Return a separate connection: `async with database.connect() as connection`."""
        assert self._server is not None  # noqa: S101 - this is not called for SQLite
        return self._server.connect()

    async def aclose(self) -> None:
        """Close all connections and end their threads."""
        await self._runner.aclose()
