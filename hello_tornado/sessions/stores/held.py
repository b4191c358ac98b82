"""How a database server is driven: a few connections that are held, each with one batch at a time.

A connection is never checked out per request. One that hangs is left behind after a time limit, and
the next call opens another.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, NullPool, literal, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.stores.sql_url import Target

P = ParamSpec("P")
R = TypeVar("R")

LIMIT_SECONDS = 3
IDLE_SECONDS = 20  # after which a connection is asked whether it lives
PING = select(literal(1))


class HeldLanes:
    """Runs functions of a connection on a held one: a lane each for reads, surveys and writes."""

    def __init__(self, target: Target) -> None:
        engine = create_async_engine(
            target.url,
            connect_args=dict(target.arguments),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
        )
        self._engine = engine
        self._reader, self._surveyor, self._writer = _Lane(engine), _Lane(engine), _Lane(engine)

    def connect(self) -> AsyncConnection:
        """One more connection, of the caller's own: `async with lanes.connect() as connection`."""
        return self._engine.connect()

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function*, asked a second time if the connection was found dead."""
        return await self._asked(self._reader, function, *args, **kwargs)

    async def survey(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The same, of a function that takes its time."""
        return await self._asked(self._surveyor, function, *args, **kwargs)

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function*, asked once: whether a lost one was done, nobody knows."""
        return await self._writer.run(function, *args, **kwargs)

    async def aclose(self) -> None:
        """Close all connections."""
        for lane in (self._reader, self._surveyor, self._writer):
            await lane.aclose()

    async def _asked(
        self, lane: "_Lane", function: Callable[..., R], *args: Any, **kwargs: Any
    ) -> R:
        try:
            return await lane.run(function, *args, **kwargs)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        return await lane.run(function, *args, **kwargs)


class _Lane:
    """One connection, opened when it is first needed, used by one call at a time."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self._used_at = 0.0
        self._turn = asyncio.Lock()
        self._given_up: set[asyncio.Task[None]] = set()

    async def run(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        """The result of *function*; `TimeoutError` when it takes too long, turn and all."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + LIMIT_SECONDS
        async with asyncio.timeout_at(deadline):
            await self._turn.acquire()
        try:
            call = asyncio.create_task(self._call(function, *args, **kwargs))
            try:
                done, _ = await asyncio.wait({call}, timeout=deadline - clock())
            except asyncio.CancelledError:
                self._give_up(call)
                raise
            if not done:
                self._give_up(call)
                raise TimeoutError
            error = call.exception()
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                self._give_up(call)
            return call.result()
        finally:
            self._turn.release()

    async def _call(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        clock = asyncio.get_running_loop().time
        if self._connection is not None and clock() - self._used_at > IDLE_SECONDS:
            await self._let_go_if_dead(self._connection)
        if self._connection is None:
            try:
                self._connection = await self._engine.connect()
            except DBAPIError as error:
                raise ConnectionError(str(error.orig)) from error
            except (TypeError, ValueError) as error:
                raise ConfigurationError(f"the store's URL cannot be used: {error}") from error
        self._used_at = clock()
        return await self._connection.run_sync(function, *args, **kwargs)

    async def _let_go_if_dead(self, connection: AsyncConnection) -> None:
        """Servers and firewalls cut who is silent for long, and a write is not asked twice."""
        try:
            await connection.execute(PING)
        except DBAPIError:
            self._connection = None
            with suppress(Exception):
                await connection.invalidate()
                await connection.close()

    def _give_up(self, call: asyncio.Task[Any]) -> None:
        """Leave the connection as it is: a hung server answers no goodbye, and nobody waits."""
        connection, self._connection = self._connection, None

        async def bury() -> None:
            call.cancel()
            await asyncio.wait({call})
            if connection is not None:
                with suppress(Exception):
                    await connection.invalidate()
                    await connection.close()

        task = asyncio.create_task(bury())
        self._given_up.add(task)
        task.add_done_callback(self._given_up.discard)

    async def aclose(self) -> None:
        """Close the connection."""
        async with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None:
                await connection.close()
            if self._given_up:
                await asyncio.wait(self._given_up, timeout=LIMIT_SECONDS)
