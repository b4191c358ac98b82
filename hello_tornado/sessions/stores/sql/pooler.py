"""PostgreSQL behind a pooler such as PgBouncer, where each transaction may use another process.

There, a connection keeps no settings, no prepared statements and no `LISTEN`. A pooler that uses
one server process for each client is treated in the same way, because a client cannot tell the
difference.
"""

import logging
from typing import TYPE_CHECKING, Any, Final

from hello_tornado.sessions.errors import StoreMisconfigured
from hello_tornado.sessions.stores.failures import failed

if TYPE_CHECKING:  # SQLite does not need it, and importing it takes long
    from sqlalchemy.ext.asyncio import AsyncConnection

ASK: Final = "SELECT pg_backend_pid()"
ASK_SETTINGS: Final = (
    "SELECT current_user, current_setting('default_transaction_isolation'), "
    "current_setting('lock_timeout'), current_setting('statement_timeout')"
)
LIMITS: Final = (
    "PostgreSQL is behind a pooler, which keeps no settings of a connection, and its %s is not "
    "set: a locked row could delay other sessions. Run "
    "ALTER ROLE %s SET lock_timeout = '700ms'; ALTER ROLE %s SET statement_timeout = '%dms'"
)

logger = logging.getLogger("hello_tornado.sessions")


async def is_behind_a_pooler(connection: "AsyncConnection") -> bool:
    """Whether another server process answers than the one that opened the connection."""
    driver = await driver_of(connection)
    named = driver.get_server_pid() if _is_asyncpg(connection) else driver.info.backend_pid
    return bool((await connection.exec_driver_sql(ASK)).scalar_one() != named)


async def driver_of(connection: "AsyncConnection") -> Any:
    """Return the connection of psycopg or asyncpg that SQLAlchemy uses."""
    return (await connection.get_raw_connection()).driver_connection


def _is_asyncpg(connection: "AsyncConnection") -> bool:
    return connection.dialect.driver == "asyncpg"


class PooledConnections:
    """Sets up connections to a pooler; warns once if the role has no time limits.

    Args:
        limit: The time limit of a call, in seconds.

    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._has_told = False

    async def set_up(self, connection: "AsyncConnection") -> None:
        """Switch off prepared statements; check the settings, which must be set for the role."""
        if _is_asyncpg(connection):
            raise failed(
                StoreMisconfigured,
                "asyncpg needs prepared statements, which a pooler does not keep: use psycopg "
                "(postgresql://) or connect to PostgreSQL directly",
                None,
            )
        (await driver_of(connection)).prepare_threshold = None
        answer: Any = (await connection.exec_driver_sql(ASK_SETTINGS)).one()
        role, isolation, *limits = answer
        if isolation != "read committed":
            raise failed(
                StoreMisconfigured,
                f"the default_transaction_isolation of the role {role} is {isolation}, and "
                f"behind a pooler the store cannot change it: run ALTER ROLE {role} SET "
                "default_transaction_isolation = 'read committed'",
                None,
            )
        self._tell(role, limits)

    def _tell(self, role: str, limits: list[str]) -> None:
        names = ("lock_timeout", "statement_timeout")
        lacks = [name for name, limit in zip(names, limits, strict=True) if limit == "0"]
        if lacks and not self._has_told:
            self._has_told = True
            milliseconds = int(self._limit * 1000)
            logger.warning(LIMITS, " and its ".join(lacks), role, role, milliseconds)
