"""PostgreSQL as a store that announces ends, with LISTEN and NOTIFY."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection, func, select

from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.stores.sql.pooler import driver_of, is_behind_a_pooler
from hello_tornado.sessions.stores.sql.store import SqlStore

CHANNEL: Final = "hello_tornado_sessions"
NOT_ANNOUNCED: Final = (
    "PostgreSQL is reached through a pooler, which passes on no notifications: open sockets learn "
    "of a logout in another process within half a second, and not at once"
)
IN_ONE_NOTICE: Final = 200  # handles: a payload has less than 8,000 bytes

logger = logging.getLogger("hello_tornado.sessions")


class PostgresqlStore(SqlStore):
    """A store over one PostgreSQL database. `announcements` holds a connection of its own.

    Behind a pooler it announces nothing, and the watcher finds ended sessions when it looks.
    """

    async def announce(self, handles: Collection[str], /) -> None:
        """Tell every process that listens."""
        await self._database.write(_notify, handles)

    async def announcements(self) -> AsyncGenerator[Collection[str]]:
        """What is announced from now on."""
        try:
            async with self._database.connect() as connection:
                if await is_behind_a_pooler(connection):
                    logger.warning(NOT_ANNOUNCED)
                    return
                driver = await driver_of(connection)
                async with aclosing(_payloads(driver)) as payloads:
                    async for payload in payloads:
                        yield payload.split()
        except Exception as error:  # each driver has errors of its own, and SQLAlchemy is not asked
            raise StoreUnavailable(f"the session store failed: {error}") from error
        raise StoreUnavailable("the session store failed: it announces no more")


def _notify(connection: Connection, handles: Collection[str]) -> None:
    rest = iter(handles)
    while notice := list(islice(rest, IN_ONE_NOTICE)):
        connection.execute(select(func.pg_notify(CHANNEL, " ".join(notice))))


async def _payloads(driver: Any) -> AsyncGenerator[str]:
    """What psycopg's or asyncpg's connection hears, until it is lost."""
    if not hasattr(driver, "add_listener"):
        await driver.execute(f"LISTEN {CHANNEL}")
        async for notice in driver.notifies():
            yield notice.payload
        return
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    driver.add_termination_listener(lambda _: heard.put_nowait(None))
    await driver.add_listener(CHANNEL, lambda *notice: heard.put_nowait(notice[-1]))
    while (payload := await heard.get()) is not None:
        yield payload
