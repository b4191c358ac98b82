"""The faults: each is an async context manager, and lasts as long as its block."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from bench.faults.proxy import Network
from bench.faults.world import World

Act: TypeAlias = Callable[[World], AsyncIterator[None]]

SERVERS = ("postgresql", "postgresql+asyncpg", "mariadb", "redis")
SEVERAL = ("pgbouncer", "galera", "sentinel", "redis+cluster")  # servers that belong together
ALL = ("sqlite", *SERVERS, *SEVERAL)
POSTGRESQL = ("postgresql", "postgresql+asyncpg", "pgbouncer")
SHORT, LONG = 2.0, 4.5  # seconds; the long ones outlast the limit of a store's call
ENDINGS_OF_CONNECTIONS = 10
AHEAD_SECONDS = 7_200
PADDING = 60_000  # bytes, so that each write needs room


@dataclass(frozen=True)
class Fault:
    """A fault.

    - `stores`: those that it can happen to
    - `short_on`: those on which the short campaign has it
    - `silent`: the processes that cannot answer while it lasts, by its nature
    - `askable`: the processes that visitors ask; `enders`: those that they ask for a logout
    - `options`: the command line options of each process
    """

    name: str
    act: Callable[[World], AbstractAsyncContextManager[None]]
    stores: tuple[str, ...]
    seconds: float
    short_on: tuple[str, ...] = ()
    silent: tuple[int, ...] = ()
    askable: tuple[int, ...] = (0, 1)
    enders: tuple[int, ...] = (0, 1)
    options: tuple[tuple[str, ...], ...] = ((), ())
    is_forked: bool = False
    needs_twin: bool = False
    needs_disk: bool = False


FAULTS: list[Fault] = []


def fault(
    name: str, stores: tuple[str, ...] = ALL, seconds: float = SHORT, **details: Any
) -> Callable[[Act], Act]:
    """Enter the decorated function into the list of faults."""

    def enter(act: Act) -> Act:
        FAULTS.append(Fault(name, asynccontextmanager(act), stores, seconds, **details))
        return act

    return enter


@asynccontextmanager
async def in_thread(administrator: AbstractContextManager[None]) -> AsyncIterator[None]:
    """What an administrator does and undoes, while the visitors go on."""
    await asyncio.to_thread(administrator.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(administrator.__exit__, None, None, None)


@fault("no fault")
async def nothing(_world: World) -> AsyncIterator[None]:
    yield


@fault("a process is killed (SIGKILL)", silent=(0,), short_on=("sqlite",))
async def process_killed(world: World) -> AsyncIterator[None]:
    await world.processes[0].end(signal.SIGKILL)
    yield
    await world.processes[0].start()


@fault("a process is ended (SIGTERM)", silent=(0,))
async def process_ended(world: World) -> AsyncIterator[None]:
    await world.processes[0].end(signal.SIGTERM)
    yield
    await world.processes[0].start()


@fault("a process stands still (SIGSTOP)", seconds=LONG, silent=(0,))
async def process_stopped(world: World) -> AsyncIterator[None]:
    world.processes[0].send(signal.SIGSTOP)
    yield
    world.processes[0].send(signal.SIGCONT)


@fault("used before fork, and in a second event loop", is_forked=True)
async def forked(_world: World) -> AsyncIterator[None]:
    yield


@fault(
    "a process whose clock is two hours ahead",
    askable=(1,),
    options=(("--ahead", str(AHEAD_SECONDS)), ()),
)
async def clock_ahead(_world: World) -> AsyncIterator[None]:
    yield


@fault("the database is killed and started (SIGKILL)", (*SERVERS, *SEVERAL), short_on=SERVERS)
async def database_killed(world: World) -> AsyncIterator[None]:
    await asyncio.to_thread(world.database.kill)
    yield
    await asyncio.to_thread(world.database.launch)


@fault("the database is shut down and started", (*SERVERS, *SEVERAL))
async def database_restarted(world: World) -> AsyncIterator[None]:
    await asyncio.to_thread(world.database.shut_down)
    yield
    await asyncio.to_thread(world.database.launch)


@fault("the database stands still (SIGSTOP)", (*SERVERS, *SEVERAL), seconds=LONG)
async def database_stopped(world: World) -> AsyncIterator[None]:
    world.database.freeze()
    yield
    world.database.thaw()


@fault("the database fails over to another server", (*SERVERS, "sentinel"), needs_twin=True)
async def failed_over(world: World) -> AsyncIterator[None]:
    await asyncio.to_thread(world.database.fail_over)
    yield


@fault("an administrator ends all connections, ten times", (*SERVERS, *SEVERAL), short_on=SERVERS)
async def connections_ended(world: World) -> AsyncIterator[None]:
    for _ in range(ENDINGS_OF_CONNECTIONS):
        await asyncio.to_thread(world.database.end_connections)
        await asyncio.sleep(SHORT / ENDINGS_OF_CONNECTIONS)
    yield


@fault("the pooler, or the sentinel, is killed and started (SIGKILL)", ("pgbouncer", "sentinel"))
async def front_killed(world: World) -> AsyncIterator[None]:
    await asyncio.to_thread(world.database.front.kill)
    yield
    await asyncio.to_thread(world.database.front.launch)


@fault("the nodes do not reach each other", ("galera",), seconds=2 * LONG)
async def isolated(world: World) -> AsyncIterator[None]:
    async with in_thread(world.database.isolated()):
        yield


@fault(
    "somebody else holds a lock on everything",
    ("sqlite", *SERVERS, "pgbouncer"),
    seconds=LONG,
    short_on=("sqlite",),
)
async def locked(world: World) -> AsyncIterator[None]:
    async with in_thread(world.database.locked()):
        yield


@fault(
    "somebody else holds the row of one session",
    (*POSTGRESQL, "mariadb"),
    seconds=2 * LONG,
)
async def row_held(world: World) -> AsyncIterator[None]:
    async with in_thread(world.database.row_held()):
        yield


@fault("out of connections", SERVERS)
async def out_of_connections(world: World) -> AsyncIterator[None]:
    async with in_thread(world.database.out_of_connections()):
        yield


@fault("read-only, or too few replicas", SERVERS)
async def read_only(world: World) -> AsyncIterator[None]:
    async with in_thread(world.database.read_only()):
        yield


@fault("out of memory", ("postgresql", "postgresql+asyncpg", "redis"))
async def out_of_memory(world: World) -> AsyncIterator[None]:
    async with in_thread(world.database.out_of_memory()):
        yield


@fault("the file is moved away and put back", ("sqlite",), short_on=("sqlite",))
async def file_moved(world: World) -> AsyncIterator[None]:
    await asyncio.to_thread(world.database.move_away)
    yield
    await asyncio.to_thread(world.database.put_back)


@fault("a backup of the file takes its place", ("sqlite",))
async def file_replaced(world: World) -> AsyncIterator[None]:
    await asyncio.to_thread(world.database.restore_a_backup)
    yield


@fault(
    "the disk is full",
    ("sqlite", *SERVERS),
    seconds=LONG,
    needs_disk=True,
    options=(("--padding", str(PADDING)), ("--padding", str(PADDING))),
)
async def disk_full(world: World) -> AsyncIterator[None]:
    await asyncio.to_thread(world.database.fill_disk)
    yield
    await asyncio.to_thread(world.database.empty_disk)
    await asyncio.to_thread(world.database.ensure_running)


def _enter(network: Network, seconds: float, short_on: tuple[str, ...] = ()) -> None:
    stores = (*SERVERS, "pgbouncer", "galera")

    @fault(f"a network that {network.value}", stores, seconds, short_on=short_on)
    async def act(world: World) -> AsyncIterator[None]:
        async with world.networks[0].being(network):
            yield


_enter(Network.REFUSES, SHORT)
_enter(Network.RESETS, SHORT)
_enter(Network.SLOW, SHORT)
_enter(Network.LATE, 2 * LONG)
_enter(Network.SWALLOWS, LONG)
_enter(Network.CUTS, SHORT, SERVERS)
