"""SQLite in three threads for reads, scans and writes, each with its own connection.

SQLite has one writer at a time, so a single thread that writes in batches is as fast as several. No
statement runs on the event loop, where a slow disk or a lock would delay all requests. A thread
that hangs cannot be ended. Its callers get an error at their time limit, and their calls that have
not begun are never done.
"""

import asyncio
import logging
import os
import sqlite3
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

from sqlalchemy import URL, Connection, Engine, MetaData, NullPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor

from hello_tornado.sessions.errors import StoreError, StoreTimeout, StoreUnavailable
from hello_tornado.sessions.stores.deadlines import (
    LIMIT_SECONDS,
    Breaker,
    deadline_of_call,
    did_not_answer,
)
from hello_tornado.sessions.stores.failures import HARMLESS
from hello_tornado.sessions.stores.sql.creation import make_missing, told_how
from hello_tornado.sessions.stores.sql.errors import judge
from hello_tornado.sessions.stores.sql.url import Target

P = ParamSpec("P")
R = TypeVar("R")
FileIdentity: TypeAlias = tuple[int, int]

BUSY_PAUSE_SECONDS: Final = 0.01

logger = logging.getLogger("hello_tornado.sessions")


class SqliteThreads:
    """Runs functions of a connection in the thread for reads, for scans or for writes.

    The file, its directory (mode 0700) and its tables are created if they are missing, unless the
    URL has `create=false`.
    """

    def __init__(self, target: Target, metadata: MetaData) -> None:
        self._limit = target.limit
        database = _Database(target, metadata)
        self.dialect = database.dialect
        self._reader, self._scanner, self._writer = (
            _Thread(database, target.limit) for _ in range(3)
        )
        close_before_a_fork(self)

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return the result of *function* on the connection for reads."""
        return await self._reader.run(function, *args, **kwargs)

    async def scan(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return the result of *function*, which takes long, on the connection for scans."""
        return await self._scanner.run(function, *args, **kwargs)

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return the result of *function* on the connection for writes."""
        return await self._writer.run(function, *args, **kwargs)

    def close(self) -> None:
        """Close all connections and end their threads; wait at most the time limit of a call."""
        threads = (self._reader, self._scanner, self._writer)
        wait([closing for thread in threads for closing in thread.close()], self._limit)

    async def aclose(self) -> None:
        """Do the same as `close` without blocking the event loop."""
        await asyncio.to_thread(self.close)


def close_before_a_fork(threads: SqliteThreads) -> None:
    """Close all connections before a fork, because SQLite's locks belong to a process."""
    reference = weakref.ref(threads)

    def close() -> None:
        if (living := reference()) is not None:
            living.close()

    os.register_at_fork(before=close)


class _Database:
    """A database file, to which each thread opens a connection."""

    def __init__(self, target: Target, metadata: MetaData) -> None:
        self.path = Path(str(target.url.database))
        self._metadata = metadata
        self._engine = sqlite_engine(target.url, target.limit)
        self.dialect = self._engine.dialect
        self._creates = self._may_be_made = target.creates

    def open(self) -> Connection:
        """Open a connection in AUTOCOMMIT; create the file and its tables if allowed."""
        if self._may_be_made:
            make_private_file(self.path)
        elif not self.path.exists():
            raise self.missing()
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            if self._creates:
                make_missing(connection, self._metadata)
        except BaseException:
            connection.close()
            raise
        self._may_be_made = False
        return connection

    def judge(self, error: Exception) -> Exception:
        """Return the error to raise instead of an error of SQLite."""
        return told_how(judge(error), self._metadata, self.dialect)

    def identity(self) -> FileIdentity | None:
        """Return the device and inode of the file at the path, or None if there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def missing(self) -> StoreUnavailable:
        """Return the error for a missing file. Creating a new one would hide the loss of data."""
        if not self._creates:
            return StoreUnavailable(
                f"the session store failed: there is no file {self.path}, and the URL has "
                "create=false"
            )
        return StoreUnavailable(
            f"the session store failed: the file {self.path} was removed or replaced while it was "
            "in use; put it back, or restart the server to begin with an empty one"
        )


class _Thread:
    """A thread with one connection, opened on first use."""

    def __init__(self, database: _Database, limit: float) -> None:
        self._database = database
        self._limit = limit
        self._breaker = Breaker(limit, time.monotonic)
        self._worker: _Worker | None = None

    async def run(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """Return the result of *function*; raise `StoreTimeout` if it takes too long."""
        limit, loop = self._breaker.admit(), asyncio.get_running_loop()
        deadline, began = deadline_of_call(limit), loop.time()
        worker = self._worker
        if worker is None:
            worker = self._worker = _Worker(self._database)
        call = worker.executor.submit(worker.call, function, *args, **kwargs)
        try:
            async with asyncio.timeout_at(deadline):
                result: R = await asyncio.wrap_future(call)
        except TimeoutError:
            self._breaker.timed_out(loop.time() - began, loop.time() - deadline)
            call.add_done_callback(partial(self._answered_late, until=began + self._limit))
            raise did_not_answer() from None
        except Exception as error:  # noqa: BLE001 - judge() classifies it
            judged = error if isinstance(error, StoreError) else self._database.judge(error)
            if isinstance(judged, StoreTimeout):  # SQLite has waited for a lock
                self._breaker.timed_out(loop.time() - began)
            raise judged from judged.__cause__
        self._breaker.answered()
        return result

    def _answered_late(self, call: "Future[Any]", until: float) -> None:
        """Close the breaker if the answer was too late for its caller but within the limit."""
        is_answer = not call.cancelled() and call.exception() is None
        if is_answer and time.monotonic() <= until:
            self._breaker.answered()

    def close(self) -> list[Future[None]]:
        """Close the connection in its thread, then end the thread; return the futures of that."""
        worker, self._worker = self._worker, None
        if worker is None:
            return []
        closing = worker.executor.submit(worker.let_go)
        worker.executor.shutdown(wait=False)
        return [closing]


class _Worker:
    """The state of a thread: its connection and the identity of the file."""

    def __init__(self, database: _Database) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="sessions-sqlite")
        self._database = database
        self._connection: Connection | None = None
        self._file: FileIdentity | None = None

    def call(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """Return the result of *function*; raise if the file was removed or replaced."""
        connection = self._opened()
        try:
            result = function(connection, *args, **kwargs)
        except Exception as error:
            if not isinstance(judge(error), HARMLESS):
                self.let_go()
            raise
        if not self._is_at_its_place():
            raise self._database.missing()
        return result

    def _opened(self) -> Connection:
        if self._connection is None or not self._is_at_its_place():
            self._connection = self._database.open()
            self._file = self._database.identity()
        return self._connection

    def _is_at_its_place(self) -> bool:
        """Whether the open file is still at its path; otherwise writes to it would be lost."""
        if self._database.identity() == self._file:
            return True
        self.let_go()
        logger.error("The file %s was removed or replaced while it was in use", self._database.path)
        return False

    def let_go(self) -> None:
        """Close the connection in any state."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.invalidate()
            with suppress(Exception):
                connection.close()


def sqlite_engine(url: URL, limit: float = LIMIT_SECONDS) -> Engine:
    """Return an engine whose connections use WAL, fsync each commit, and wait for locks.

    Args:
        url: The URL.
        limit: How long to wait for a lock, in seconds (3).

    """
    engine = create_engine(
        url, poolclass=NullPool, connect_args={"timeout": limit}, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        _switch_to_wal(cursor, limit)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    return engine


def _switch_to_wal(cursor: DBAPICursor, limit: float) -> None:
    """Switch to WAL. SQLite does not wait for locks here, if another process starts meanwhile."""
    deadline = time.monotonic() + limit
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
    """Create a database file that only its owner can read. SQLite gives its WAL the same mode.

    An existing file is not even opened, because closing it would release the locks that SQLite has
    on it in this process, and another process would consider the WAL abandoned.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
