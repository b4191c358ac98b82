"""How SQLite is driven: threads that read, scan and write, each with its own connection.

SQLite has one writer at a time, so one thread with group commit loses nothing; and no statement
ever runs on the event loop, where a cold page or a lock would hold up every request. A thread that
hangs cannot be ended. Its callers leave it behind in time, and what they asked for and was not
begun is never done.
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
    """Runs functions of a connection in the reader's, the scanner's or the writer's thread.

    The file, its directory (mode 0700) and its tables are made when they are missing, unless the
    URL says `create=false`.
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
        """The result of *function* on the reading connection."""
        return await self._reader.run(function, *args, **kwargs)

    async def scan(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function*, which takes its time, on a connection beside that one."""
        return await self._scanner.run(function, *args, **kwargs)

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function* on the writing connection."""
        return await self._writer.run(function, *args, **kwargs)

    def close(self) -> None:
        """Close all connections and end their threads; waits for them as long as for a call."""
        threads = (self._reader, self._scanner, self._writer)
        wait([closing for thread in threads for closing in thread.close()], self._limit)

    async def aclose(self) -> None:
        """The same, without blocking the event loop."""
        await asyncio.to_thread(self.close)


def close_before_a_fork(threads: SqliteThreads) -> None:
    """SQLite's locks belong to a process: a child must find no connection that it did not open."""
    reference = weakref.ref(threads)

    def close() -> None:
        if (living := reference()) is not None:
            living.close()

    os.register_at_fork(before=close)


class _Database:
    """One file, as connections to it are opened."""

    def __init__(self, target: Target, metadata: MetaData) -> None:
        self.path = Path(str(target.url.database))
        self._metadata = metadata
        self._engine = sqlite_engine(target.url, target.limit)
        self.dialect = self._engine.dialect
        self._creates = self._may_be_made = target.creates

    def open(self) -> Connection:
        """A connection in AUTOCOMMIT, to a file that has the tables."""
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
        """What callers see in the place of SQLite's error."""
        return told_how(judge(error), self._metadata, self.dialect)

    def identity(self) -> FileIdentity | None:
        """Which file stands at the path now, if any."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def missing(self) -> StoreUnavailable:
        """The error while no file stands there. Making a new one would hide what was lost."""
        if not self._creates:
            return StoreUnavailable(
                f"the session store failed: there is no file {self.path}, and the URL says "
                "create=false"
            )
        return StoreUnavailable(
            f"the session store failed: the file {self.path} was removed or replaced while it was "
            "in use; put it back, or restart the server to begin with an empty one"
        )


class _Thread:
    """One thread with one connection, opened when it is first needed."""

    def __init__(self, database: _Database, limit: float) -> None:
        self._database = database
        self._limit = limit
        self._breaker = Breaker(limit, time.monotonic)
        self._worker: _Worker | None = None

    async def run(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """The result of *function* with the connection; `StoreTimeout` when it takes too long."""
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
        except Exception as error:  # noqa: BLE001 - judge() says what it is
            judged = error if isinstance(error, StoreError) else self._database.judge(error)
            if isinstance(judged, StoreTimeout):  # SQLite itself has waited for a lock
                self._breaker.timed_out(loop.time() - began)
            raise judged from judged.__cause__
        self._breaker.answered()
        return result

    def _answered_late(self, call: "Future[Any]", until: float) -> None:
        """An answer that came too late for its caller, but within the limit of a call."""
        is_answer = not call.cancelled() and call.exception() is None
        if is_answer and time.monotonic() <= until:
            self._breaker.answered()

    def close(self) -> list[Future[None]]:
        """Let the connection be closed where it was opened, and the thread end afterwards."""
        worker, self._worker = self._worker, None
        if worker is None:
            return []
        closing = worker.executor.submit(worker.let_go)
        worker.executor.shutdown(wait=False)
        return [closing]


class _Worker:
    """What lives in a thread: a connection, and the file that it is to."""

    def __init__(self, database: _Database) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="sessions-sqlite")
        self._database = database
        self._connection: Connection | None = None
        self._file: FileIdentity | None = None

    def call(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """The result of *function*, if the file is still the one that was opened."""
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
        """Whether the file still has its name; if not, what is written to it would be lost."""
        if self._database.identity() == self._file:
            return True
        self.let_go()
        logger.error("The file %s was removed or replaced while it was in use", self._database.path)
        return False

    def let_go(self) -> None:
        """Close the connection, in whatever state it is."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.invalidate()
            with suppress(Exception):
                connection.close()


def sqlite_engine(url: URL, limit: float = LIMIT_SECONDS) -> Engine:
    """An engine whose connections use WAL, wait for a fsync at each commit, and wait for locks."""
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
    """For this statement SQLite itself does not wait, when another process starts beside us."""
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
    """Sessions are nobody else's to read; SQLite gives its WAL the mode of the database.

    A file that is there is not even opened: closing it again would drop the locks that SQLite
    holds on it in this process, and another process would take the WAL for abandoned.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
