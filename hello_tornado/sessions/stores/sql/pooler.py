"""PostgreSQL behind a pooler, such as PgBouncer: each transaction may go to another server process.

A connection keeps no setting, no prepared statement and no `LISTEN` there. A pooler that gives each
client a server process of its own is treated in the same way, because the two cannot be told apart.
"""

import logging
from typing import TYPE_CHECKING, Any, Final

from hello_tornado.sessions.errors import StoreMisconfigured
from hello_tornado.sessions.stores.failures import failed

if TYPE_CHECKING:  # SQLite needs none of it, and it takes its time
    from sqlalchemy.ext.asyncio import AsyncConnection

ASK: Final = "SELECT pg_backend_pid()"
ASK_SETTINGS: Final = (
    "SELECT current_user, current_setting('default_transaction_isolation'), "
    "current_setting('lock_timeout'), current_setting('statement_timeout')"
)
LIMITS: Final = (
    "PostgreSQL is reached through a pooler, which keeps no settings for us, and its %s is not "
    "limited: a row that somebody holds could hold up other sessions. Run "
    "ALTER ROLE %s SET lock_timeout = '700ms'; ALTER ROLE %s SET statement_timeout = '%dms'"
)

logger = logging.getLogger("hello_tornado.sessions")


async def is_behind_a_pooler(connection: "AsyncConnection") -> bool:
    """Whether the process that answers is not the one that was named when the connection opened."""
    driver = await driver_of(connection)
    named = driver.get_server_pid() if _is_asyncpg(connection) else driver.info.backend_pid
    return bool((await connection.exec_driver_sql(ASK)).scalar_one() != named)


async def driver_of(connection: "AsyncConnection") -> Any:
    """The connection of psycopg or asyncpg below SQLAlchemy's."""
    return (await connection.get_raw_connection()).driver_connection


def _is_asyncpg(connection: "AsyncConnection") -> bool:
    return connection.dialect.driver == "asyncpg"


class PooledConnections:
    """Sets up connections to a pooler; warns once about limits that the role has to have."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._has_told = False

    async def set_up(self, connection: "AsyncConnection") -> None:
        """Switch prepared statements off, and check the settings that only the role can have."""
        if _is_asyncpg(connection):
            raise failed(
                StoreMisconfigured,
                "asyncpg needs prepared statements, which a pooler does not keep: write "
                "postgresql://, for psycopg, or connect to PostgreSQL itself",
                None,
            )
        (await driver_of(connection)).prepare_threshold = None
        answer: Any = (await connection.exec_driver_sql(ASK_SETTINGS)).one()
        role, isolation, *limits = answer
        if isolation != "read committed":
            raise failed(
                StoreMisconfigured,
                f"the default_transaction_isolation of the role {role} is {isolation}, and a "
                f"pooler keeps no other one for us: ALTER ROLE {role} SET "
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
