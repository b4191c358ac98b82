"""How SQLite is driven: threads that read, survey and write, each with its own connection.

SQLite has one writer at a time, so one thread with group commit loses nothing; and no statement
ever runs on the event loop, where a cold page or a lock would hold up every request.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, MetaData, NullPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from hello_tornado.sessions.stores.transactions import transaction

P = ParamSpec("P")
R = TypeVar("R")

BUSY_SECONDS = 3
BUSY_PAUSE_SECONDS = 0.01


class SqliteLanes:
    """Runs functions of a connection in the reader's, the surveyor's or the writer's thread.

    The file, its directory (mode 0700) and its tables are made when they are missing.
    """

    def __init__(self, url: URL, metadata: MetaData) -> None:
        self._url = url
        self._metadata = metadata
        self._reader = _Lane(self._connect)
        self._surveyor = _Lane(self._connect)
        self._writer = _Lane(self._connect_and_create)

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function* on the reading connection."""
        await self._writer.connected()  # which makes the tables
        return await self._reader.run(function, *args, **kwargs)

    async def survey(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function*, which takes its time, on a connection beside that one."""
        await self._writer.connected()
        return await self._surveyor.run(function, *args, **kwargs)

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function* on the writing connection."""
        return await self._writer.run(function, *args, **kwargs)

    async def aclose(self) -> None:
        """Close all connections and end their threads."""
        for lane in (self._reader, self._surveyor, self._writer):
            await lane.aclose()

    def _connect(self) -> Connection:
        return sqlite_engine(self._url).connect().execution_options(isolation_level="AUTOCOMMIT")

    def _connect_and_create(self) -> Connection:
        make_private_file(Path(str(self._url.database)))
        connection = self._connect()
        with transaction(connection):
            self._metadata.create_all(connection)
        return connection


class _Lane:
    """One thread with one connection, opened when it is first needed."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._thread: ThreadPoolExecutor | None = None

    async def connected(self) -> None:
        """Return when there is a connection."""
        if self._connection is None:
            await self.run(lambda _connection: None)

    async def run(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """The result of *function* with the connection."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sessions-sqlite")

        def call() -> R:
            if self._connection is None:
                self._connection = self._connect()
            return function(self._connection, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def aclose(self) -> None:
        """Close the connection where it was opened, then end the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return

        def close() -> None:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
                connection.engine.dispose()

        await asyncio.get_running_loop().run_in_executor(thread, close)
        thread.shutdown()


def sqlite_engine(url: URL) -> Engine:
    """An engine whose connections use WAL, wait for a fsync at each commit, and wait for locks."""
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        _switch_to_wal(cursor)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    return engine


def _switch_to_wal(cursor: DBAPICursor) -> None:
    """For this statement SQLite itself does not wait, when another process starts beside us."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(BUSY_PAUSE_SECONDS)
        else:
            return


def make_private_file(path: Path) -> None:
    """Sessions are nobody else's to read; SQLite gives its WAL the mode of the database.

    A file that is there is not even opened: closing it again would drop the locks that SQLite
    holds on it in this process, and another process would take the WAL for abandoned.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
