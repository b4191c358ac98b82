"""How PostgreSQL tells all processes which sessions have ended: LISTEN and NOTIFY."""

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
    "PostgreSQL is reached through a pooler, which passes on no notifications: open sockets learn "
    "of a logout in another process within half a second, and not at once"
)
IN_ONE_NOTICE: Final = 200  # handles: a payload has less than 8,000 bytes

logger = logging.getLogger("hello_tornado.sessions")


class Notices:
    """The notices about one table: it has a channel of its own in its database."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        self._channel = func.concat(CHANNEL, digest_of(table, dialect))

    def notify(self, connection: Connection, handles: Collection[str]) -> None:
        """Tell every process that listens."""
        rest = iter(handles)
        while notice := list(islice(rest, IN_ONE_NOTICE)):
            connection.execute(select(func.pg_notify(self._channel, " ".join(notice))))

    async def listen(self, connection: "AsyncConnection") -> AsyncGenerator[Collection[str]]:
        """What is announced from now on, until the connection is lost; nothing from a pooler."""
        if await is_behind_a_pooler(connection):
            logger.warning(NOT_ANNOUNCED)
            return
        channel = (await connection.execute(select(self._channel))).scalar_one()
        driver = await driver_of(connection)
        async with aclosing(_payloads(driver, channel)) as payloads:
            async for payload in payloads:
                yield payload.split()
        raise ConnectionError("it announces no more")


async def _payloads(driver: Any, channel: str) -> AsyncGenerator[str]:
    """What psycopg's or asyncpg's connection hears, until it is lost."""
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
