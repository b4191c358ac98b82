"""Connections to PostgreSQL, MariaDB and MySQL, and the settings of each connection.

Settings that matter are always set, because servers have different defaults.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import MetaData, NullPool
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from hello_tornado.sessions.errors import StoreMisconfigured
from hello_tornado.sessions.stores.deadlines import CLOCKS_MAY_DIFFER_SECONDS
from hello_tornado.sessions.stores.failures import failed
from hello_tornado.sessions.stores.sql.creation import make_missing, told_how
from hello_tornado.sessions.stores.sql.errors import judge
from hello_tornado.sessions.stores.sql.pooler import PooledConnections, is_behind_a_pooler
from hello_tornado.sessions.stores.sql.schema import execution_options
from hello_tornado.sessions.stores.sql.url import Target

SMALLEST_PACKET: Final = 4 * 1024 * 1024
# A locked row must not delay other sessions, and a statement whose caller has given up must end.
SET_POSTGRESQL: Final = """
    SELECT set_config('lock_timeout', '700ms', false),
           set_config('statement_timeout', '{milliseconds}ms', false),
           set_config('idle_in_transaction_session_timeout', '{milliseconds}ms', false),
           set_config('default_transaction_isolation', 'read committed', false),
           set_config('array_nulls', 'on', false),
           (SELECT count(set_config(name, '0', false)) FROM pg_settings
            WHERE name IN ('idle_session_timeout', 'transaction_timeout'))
"""
SET_MARIADB: Final = (
    "SET SESSION lock_wait_timeout = 1, innodb_lock_wait_timeout = 1 "
    "/*M! , max_statement_time = {seconds} */ /*!80000 , max_execution_time = {milliseconds} */"
)
ASK_POSTGRESQL: Final = "SELECT extract(epoch from clock_timestamp())"
ASK_MARIADB: Final = (
    "SELECT UNIX_TIMESTAMP(UTC_TIMESTAMP(6)), @@max_allowed_packet, @@log_bin, @@binlog_format"
)
# A node of a Galera cluster may not have yet what another node has already committed: each SELECT
# and BEGIN (1), UPDATE and DELETE (2) waits for it. An INSERT need not wait, because all nodes
# check its key. With dirty reads, a node that has lost the others would still return old rows.
ASK_GALERA: Final = "SHOW SESSION VARIABLES LIKE 'wsrep_on'"
SET_GALERA: Final = "SET SESSION wsrep_sync_wait = 3, wsrep_dirty_reads = OFF"
ASK_IF_READ_ONLY_POSTGRESQL: Final = "SELECT current_setting('transaction_read_only')"
ASK_IF_READ_ONLY_MARIADB: Final = "SELECT @@global.read_only"
WRITABLE: Final = ("off", 0, "OFF")

logger = logging.getLogger("hello_tornado.sessions")


class SqlServer:
    """Opens connections to the server of *target* and classifies its errors.

    Args:
        target: The URL, the driver's arguments and the options.
        metadata: The tables that are created if they are missing.

    """

    def __init__(self, target: Target, metadata: MetaData) -> None:
        self._limit = target.limit
        self._metadata = metadata
        self._creates = target.creates
        self._has_told_of_clocks = False
        self._pooled = PooledConnections(target.limit)
        how: dict[str, Any] = {"connect_args": dict(target.arguments)}
        if target.opens is not None:
            how = {"creator": target.opens}
        self._engine = create_async_engine(
            target.url,
            **how,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,  # errors are logged, and session data must not be
        )
        self._options = execution_options(target.name)

    @property
    def dialect(self) -> Dialect:
        """The dialect of SQLAlchemy for this kind of server."""
        return self._engine.dialect

    def connect(self) -> AsyncConnection:
        """Return a separate connection: `async with server.connect() as connection`."""
        return self._engine.connect()

    async def open(self) -> AsyncConnection:
        """Open a connection in AUTOCOMMIT, with time limits for locks and statements.

        Missing tables are created.
        """
        try:
            connection = await self._engine.connect()
        except DBAPIError:
            raise
        except (TypeError, ValueError) as error:  # an option that the driver does not know
            raise failed(StoreMisconfigured, str(error), error) from error
        try:
            if self._engine.dialect.name == "postgresql":
                await self._set_up_postgresql(connection)
            else:
                await self._set_up_mariadb(connection)
            await connection.execution_options(**self._options)
            if self._creates:
                await connection.run_sync(make_missing, self._metadata)
        except BaseException:
            with suppress(Exception):
                await self.close(connection)
            raise
        return connection

    async def _set_up_postgresql(self, connection: AsyncConnection) -> None:
        if await is_behind_a_pooler(connection):
            await self._pooled.set_up(connection)
        else:
            milliseconds = int(self._limit * 1000)
            await connection.exec_driver_sql(SET_POSTGRESQL.format(milliseconds=milliseconds))
        answer = await connection.exec_driver_sql(ASK_POSTGRESQL)
        self._compare_clocks(float(answer.scalar_one()))

    async def _set_up_mariadb(self, connection: AsyncConnection) -> None:
        milliseconds = int(self._limit * 1000)
        settings = SET_MARIADB.format(seconds=self._limit, milliseconds=milliseconds)
        await connection.exec_driver_sql(settings)
        answer = await connection.exec_driver_sql(ASK_MARIADB)
        row: Any = answer.one()
        now, packet, has_log, log_format = row
        self._compare_clocks(float(now))
        if has_log and log_format == "STATEMENT":
            raise failed(
                StoreMisconfigured,
                "the server's binlog_format is STATEMENT, which allows no writes in READ "
                "COMMITTED: set it to ROW or MIXED",
                None,
            )
        if packet < SMALLEST_PACKET:
            logger.warning(
                "The server's max_allowed_packet is %d bytes: sessions near this size cannot be "
                "stored; set it to %d or more",
                packet,
                SMALLEST_PACKET,
            )
        galera = await connection.exec_driver_sql(ASK_GALERA)
        if ("wsrep_on", "ON") in galera.all():
            await connection.exec_driver_sql(SET_GALERA)

    def _compare_clocks(self, theirs: float) -> None:
        difference = time.time() - theirs
        if abs(difference) > CLOCKS_MAY_DIFFER_SECONDS and not self._has_told_of_clocks:
            self._has_told_of_clocks = True
            logger.warning(
                "The clock of this process is %.0f seconds %s that of the database: sessions end "
                "that much too %s here; synchronize both with NTP",
                abs(difference),
                "ahead of" if difference > 0 else "behind",
                "early" if difference > 0 else "late",
            )

    async def is_alive(self, connection: AsyncConnection) -> bool:
        """Whether the connection answers and its server accepts writes."""
        is_postgresql = self._engine.dialect.name == "postgresql"
        query = ASK_IF_READ_ONLY_POSTGRESQL if is_postgresql else ASK_IF_READ_ONLY_MARIADB
        try:
            return (await connection.exec_driver_sql(query)).scalar_one() in WRITABLE
        except DBAPIError:
            return False

    def call(
        self, connection: AsyncConnection, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Awaitable[Any]:
        """Call *function* with the synchronous connection and return its result."""
        return connection.run_sync(function, *args, **kwargs)

    async def close(self, connection: AsyncConnection) -> None:
        """Close the socket of a connection in any state."""
        await connection.invalidate()
        await connection.close()

    def forsake(self, connection: AsyncConnection) -> None:
        """Close the socket from another event loop."""
        with suppress(Exception):  # its event loop is usually closed
            sync: Any = connection.sync_connection
            raw = sync.connection.driver_connection
            sync.detach()  # otherwise the pool would log a warning when it cleans up
            if self._engine.dialect.driver == "psycopg":
                raw.pgconn.finish()
            elif self._engine.dialect.driver == "asyncpg":
                raw.terminate()
            else:
                raw.close()

    def judge(self, error: Exception) -> Exception:
        """Return the error to raise instead."""
        return told_how(judge(error), self._metadata, self._engine.dialect)
