"""PostgreSQL behind a pooler, such as PgBouncer: each transaction may go to another server process.

There nothing may be left behind in a connection: no setting, no prepared statement, no `LISTEN`. A
pooler that keeps one process for each client is treated alike, because nothing tells them apart.
"""

import logging
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from hello_tornado.sessions.errors import StoreMisconfigured
from hello_tornado.sessions.stores.failures import failed

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


async def is_behind_a_pooler(connection: AsyncConnection) -> bool:
    """Whether the server process is another one than the pooler has named to the client."""
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    named = (
        driver.get_server_pid() if hasattr(driver, "get_server_pid") else driver.info.backend_pid
    )
    return bool((await connection.exec_driver_sql(ASK)).scalar_one() != named)


class PooledConnections:
    """Makes connections to a pooler ready; what has to be set elsewhere is told once."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._has_told = False

    async def set_up(self, connection: AsyncConnection) -> None:
        """Prepare no statements, and look at what cannot be set for a connection here."""
        raw = await connection.get_raw_connection()
        driver: Any = raw.driver_connection
        if not hasattr(driver, "prepare_threshold"):
            raise failed(
                StoreMisconfigured,
                "asyncpg needs prepared statements, which a pooler does not keep: write "
                "postgresql://, for psycopg, or connect to PostgreSQL itself",
                None,
            )
        driver.prepare_threshold = None
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
