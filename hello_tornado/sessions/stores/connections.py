"""Connections to a database server: a few that stay open, each with one call at a time.

Connections are not checked out per request. A connection is reused only if its state is known:

- After a timeout, or any error that is not known to be harmless, it is closed, and the next call
  opens another.
- If it was not checked for a second, it is checked before it is used. Servers and firewalls close
  connections, and a write that was lost is not repeated. The check also finds a server that has
  become read-only, so that readers leave it, too.
- If it breaks, or the server says that it cannot serve, the other connections to this server are
  closed, too.
- A call in another process (after a fork) or in another event loop opens a new connection.

All database servers are used through this module; a `Driver` implements the differences.
"""

import asyncio
import math
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from hello_tornado.sessions.errors import StoreError, StoreTimeout
from hello_tornado.sessions.stores.deadlines import Breaker, Wait, deadline_of_call, did_not_answer
from hello_tornado.sessions.stores.failures import (
    HARMLESS,
    ConnectionLost,
    ServerRefuses,
    TakenBack,
)

C = TypeVar("C")
R = TypeVar("R")

TRUSTED_SECONDS = 1.0  # after which a connection is checked before it is used
MOST_LEFT_BEHIND: Final = 6
AWAY: Final = (ConnectionLost, ServerRefuses)


class Driver(Protocol[C]):
    """The operations on connections to one kind of server."""

    async def open(self) -> C:
        """Open a connection and set all session settings that the store depends on."""

    async def is_alive(self, connection: C, /) -> bool:
        """Whether a connection works and its server accepts writes."""

    def call(
        self, connection: C, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Awaitable[Any]:
        """Call *function* with the connection and return its result."""

    async def close(self, connection: C, /) -> None:
        """Close a connection in any state."""

    def forsake(self, connection: C, /) -> None:
        """Discard a connection of another event loop without waiting."""

    def judge(self, error: Exception, /) -> Exception:
        """Return the error to raise instead; its type decides whether the connection is kept."""


class Connections(Generic[C]):
    """The connections to one database: one each for reads, for scans and for writes.

    A scan reads the whole table, which takes long.

    Args:
        driver: Opens and uses connections.
        limit: How long a call may take, in seconds.

    """

    def __init__(self, driver: Driver[C], limit: float) -> None:
        server = _Server()
        self._reader, self._scanner, self._writer = (_Held(driver, server, limit) for _ in range(3))

    async def read(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the result of *function*; repeat it once if the connection was lost."""
        return await _asked(self._reader, function, *args, **kwargs)

    async def scan(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Do the same as `read` with a function that takes long."""
        return await _asked(self._scanner, function, *args, **kwargs)

    async def write(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the result of *function*. A lost call is not repeated: it may have been done."""
        return await self._writer.run(function, *args, **kwargs)

    async def aclose(self) -> None:
        """Close all connections."""
        for held in (self._reader, self._scanner, self._writer):
            await held.aclose()


async def _asked(held: "_Held[C]", function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a read. Repeat it once if the connection was lost, and while its table is locked."""
    wait, is_lost = Wait(), False
    while True:
        try:
            with wait:
                return await held.run(function, *args, **kwargs)
        except TakenBack:
            continue  # until the time limit of the call
        except ConnectionLost:
            if is_lost:
                raise
            is_lost = True


@dataclass(slots=True)
class _Server:
    """A number for the server behind the address; it grows if that server is lost or refuses.

    Connections with a smaller number are closed before they are used again.
    """

    number: int = 0


@dataclass(slots=True)
class _Slot(Generic[C]):
    """A connection if one is open, the number of its server, and when it was last checked."""

    connection: C | None = None
    server: int = 0
    asked_at: float = 0.0


@dataclass(slots=True)
class _Own(Generic[C]):
    """The state that belongs to one process and one event loop."""

    process: int
    loop: asyncio.AbstractEventLoop
    slot: _Slot[C] = field(default_factory=_Slot)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    left_behind: set[asyncio.Task[None]] = field(default_factory=set)


class _Held(Generic[C]):
    """One connection, opened on first use and used by one call at a time."""

    def __init__(self, driver: Driver[C], server: _Server, limit: float) -> None:
        self._driver = driver
        self._server = server
        self._limit = limit
        self._breaker: Breaker | None = None
        self._own: _Own[C] | None = None
        self._of_other_processes: list[_Own[C]] = []

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return the result of *function*; `StoreTimeout` if waiting and call take too long."""
        own, breaker = self._here()
        limit, clock = breaker.admit(), own.loop.time
        deadline, began = deadline_of_call(limit), clock()
        try:
            await self._take_turn(own, deadline)
            try:
                more = self._limit - limit  # the answer to a probe may take the full limit
                result = await self._run(own, deadline, more, function, *args, **kwargs)
            finally:
                own.turn.release()
        except StoreTimeout:
            breaker.timed_out(clock() - began, clock() - deadline)
            raise
        except HARMLESS:
            breaker.answered()
            raise
        breaker.answered()
        return result

    async def _take_turn(self, own: _Own[C], deadline: float) -> None:
        if own.loop.time() >= deadline:
            raise did_not_answer()
        if not own.turn.locked():
            await own.turn.acquire()  # does not wait and needs no timer
            return
        try:
            async with asyncio.timeout_at(deadline):
                await own.turn.acquire()
        except TimeoutError:
            raise did_not_answer() from None

    async def _run(
        self,
        own: _Own[C],
        deadline: float,
        more: float,
        function: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        slot = own.slot
        call = own.loop.create_task(self._call(own, slot, function, *args, **kwargs))
        try:
            await asyncio.wait({call}, timeout=deadline - own.loop.time())
        except asyncio.CancelledError:
            self._leave_behind(own, call)
            raise
        if not call.done():
            self._leave_behind(own, call, more)
            raise did_not_answer()
        try:
            return call.result()
        except Exception as error:  # noqa: BLE001 - the driver classifies it
            judged = error if isinstance(error, StoreError) else self._driver.judge(error)
            if not isinstance(judged, HARMLESS):
                self._leave_behind(own, call)
            if isinstance(judged, AWAY) and slot.server == self._server.number:
                self._server.number += 1
            raise judged from judged.__cause__

    async def _call(
        self,
        own: _Own[C],
        slot: _Slot[C],
        function: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        connection, driver = slot.connection, self._driver
        if connection is not None:
            is_trusted = slot.server == self._server.number
            if is_trusted and own.loop.time() - slot.asked_at > TRUSTED_SECONDS:
                is_trusted = await driver.is_alive(connection)
                slot.asked_at = own.loop.time()
                if not is_trusted:
                    self._server.number += 1  # the other connections may be to this server, too
            if not is_trusted:
                slot.connection = None
                self._bury(own, self._close(connection))
                connection = None
        if connection is None:
            if len(own.left_behind) >= MOST_LEFT_BEHIND:
                raise did_not_answer()
            server = self._server.number
            connection = slot.connection = await driver.open()
            # If the server does not accept writes, the connection is checked again before the next
            # call, because the address will soon lead to another server.
            is_trusted = await driver.is_alive(connection)
            slot.server, slot.asked_at = server, own.loop.time() if is_trusted else -math.inf
        return await driver.call(connection, function, *args, **kwargs)

    def _here(self) -> tuple[_Own[C], Breaker]:
        """Return the state of this process and event loop; never use that of another one."""
        own, process, loop = self._own, os.getpid(), asyncio.get_running_loop()
        if own is None or self._breaker is None or own.loop is not loop or own.process != process:
            if own is not None and own.process != process:
                self._of_other_processes.append(own)  # kept, because collecting it would close it
            elif own is not None and own.slot.connection is not None:
                self._driver.forsake(own.slot.connection)
            own = self._own = _Own(process, loop)
            self._breaker = Breaker(self._limit, loop.time)
        return own, self._breaker

    def _leave_behind(self, own: _Own[C], call: asyncio.Task[Any], more: float = 0.0) -> None:
        """Close the connection in the background, because a server that hangs would delay this.

        Before that, the call gets *more* seconds; if it is answered, the breaker is closed.
        """
        slot, own.slot = own.slot, _Slot(server=own.slot.server)
        breaker = self._breaker

        async def end() -> None:
            if not call.done() and more > 0:
                await asyncio.wait({call}, timeout=more)
                if call.done() and breaker is not None and self._is_answer(call):
                    breaker.answered()
            if not call.done():
                call.cancel()
                await asyncio.wait({call}, timeout=self._limit)
            if call.done() and not call.cancelled():
                call.exception()
            if slot.connection is not None:
                await self._close(slot.connection)

        self._bury(own, end())

    def _is_answer(self, call: asyncio.Task[Any]) -> bool:
        error = call.exception()
        return error is None or (
            isinstance(error, Exception) and isinstance(self._driver.judge(error), HARMLESS)
        )

    def _bury(self, own: _Own[C], end: Awaitable[None]) -> None:
        task = asyncio.ensure_future(end)
        own.left_behind.add(task)
        task.add_done_callback(own.left_behind.discard)

    async def _close(self, connection: C) -> None:
        with suppress(Exception):
            async with asyncio.timeout(self._limit):
                await self._driver.close(connection)

    async def aclose(self) -> None:
        """Close the connection."""
        own = self._own
        if own is None or own.process != os.getpid() or own.loop is not asyncio.get_running_loop():
            self._own = None
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limit):
                await own.turn.acquire()
            own.turn.release()
        slot, own.slot = own.slot, _Slot()
        if slot.connection is not None:
            await self._close(slot.connection)
        if own.left_behind:
            await asyncio.wait(own.left_behind, timeout=self._limit)
