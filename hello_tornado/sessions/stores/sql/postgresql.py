"""Announcements of ended sessions in PostgreSQL, by LISTEN and NOTIFY."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.engine import Dialect

from hello_tornado.sessions.stores.sql.names import digest_of
from hello_tornado.sessions.stores.sql.pooler import driver_of, is_behind_a_pooler

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

CHANNEL: Final = "hello_tornado_"
NOT_ANNOUNCED: Final = (
    "PostgreSQL is behind a pooler, which does not forward notifications: after a logout in "
    "another process, open sockets are closed within half a second instead of at once"
)
IN_ONE_NOTICE: Final = 200  # handles: a payload has less than 8,000 bytes

logger = logging.getLogger("hello_tornado.sessions")


class Notices:
    """The notifications about one table; each table has a separate channel in its database."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._channel = func.concat(CHANNEL, digest_of(table, dialect))

    def notify(self, connection: Connection, handles: Collection[str]) -> None:
        """Send *handles* to all processes that listen."""
        rest = iter(handles)
        while notice := list(islice(rest, IN_ONE_NOTICE)):
            connection.execute(select(func.pg_notify(self._channel, " ".join(notice))))

    async def listen(self, connection: "AsyncConnection") -> AsyncGenerator[Collection[str]]:
        """Yield the handles that are announced from now on; return at once behind a pooler.

        Raises an error when the connection is lost.
        """
        if await is_behind_a_pooler(connection):
            logger.warning(NOT_ANNOUNCED)
            return
        channel = (await connection.execute(select(self._channel))).scalar_one()
        driver = await driver_of(connection)
        async with aclosing(_payloads(driver, channel)) as payloads:
            async for payload in payloads:
                yield payload.split()
        raise ConnectionError("the connection for announcements was lost")


async def _payloads(driver: Any, channel: str) -> AsyncGenerator[str]:
    """Yield the notifications of a connection of psycopg or asyncpg until it is lost."""
    if not hasattr(driver, "add_listener"):
        await driver.execute(f"LISTEN {channel}")
        async for notice in driver.notifies():
            yield notice.payload
        return
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    driver.add_termination_listener(lambda _: heard.put_nowait(None))
    await driver.add_listener(channel, lambda *notice: heard.put_nowait(notice[-1]))
    while (payload := await heard.get()) is not None:
        yield payload
