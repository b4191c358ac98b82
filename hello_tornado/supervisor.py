"""Runs several server processes on one port: starts, watches and stops them together.

Each process has its own connections to the store, and the kernel distributes new clients among the
processes. Each is tied to the supervisor by a pair of sockets, the lifeline: the process writes to
it once it listens, and stops when the supervisor closes its end or is gone.
"""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory

from prometheus_client.multiprocess import mark_process_dead

from hello_tornado.config.secret import cookie_secret
from hello_tornado.config.settings import Loaded
from hello_tornado.handlers.metrics import SHARED
from hello_tornado.problem import Problem
from hello_tornado.server import (
    DRAIN_SECONDS,
    announce,
    free_address,
    set_by_signals,
)
from hello_tornado.service import prepare_schema
from hello_tornado.sessions import open_store

logger = logging.getLogger("hello_tornado.supervisor")

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 8.0  # seconds before a process that ended is started again
ENOUGH_SECONDS = 10  # a process that ran for longer is started again after the shortest pause


async def supervise(loaded: Loaded, arguments: Sequence[str], tell: Callable[[str], None]) -> int:
    """Keep `server.processes` processes serving until SIGTERM, SIGINT or SIGHUP.

    *arguments* are passed on to each of them. *tell* shows a line to the person who started the
    server. Returns an exit code. Raises `Problem` when the server cannot start.
    """
    settings, stop = loaded.settings, set_by_signals()
    if settings.store.url.startswith("memory:"):
        raise Problem(
            "processes cannot share a memory store: each would have only its own sessions",
            "set store.url to sqlite:///var/sessions.db, or server.processes to 1",
        )
    cookie_secret(settings)
    backup = prepare_schema(settings)
    address = free_address(settings)
    command = _command(address[1], arguments)
    with TemporaryDirectory(prefix="hello_tornado-") as numbers:
        first, *others = (Worker(command, numbers) for _ in range(settings.server.processes))
        # The first one starts alone, so that a problem at startup is reported only once.
        if not await first.start():
            return 0 if stop.is_set() else await first.exit_code()
        await asyncio.gather(*(worker.start() for worker in others))
        announce(loaded, str(open_store(settings.store.url)), address, backup, tell)
        keeping = [asyncio.create_task(worker.keep(stop)) for worker in (first, *others)]
        await stop.wait()
        tell("stopping: finishing the requests in flight")
        await asyncio.gather(*keeping)
        return 0


class Worker:
    """One server process, started again when it ends; the directory *numbers* gets its metrics."""

    def __init__(self, command: Sequence[str], numbers: str) -> None:
        self._command = command
        self._numbers = numbers

    async def start(self) -> bool:
        """Start the process; return whether it began to listen."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                f"--lifeline={theirs.fileno()}",
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env=os.environ | {SHARED: self._numbers},
            )
        reader, self._lifeline = await asyncio.open_connection(sock=ours)
        return await reader.readline() != b""

    async def exit_code(self) -> int:
        """Wait until the process has ended; return its exit code."""
        return await self._process.wait()

    async def keep(self, stop: asyncio.Event) -> None:
        """Start the process again whenever it ends; once *stop* is set, let it finish."""
        stopping, clock = asyncio.create_task(stop.wait()), asyncio.get_running_loop().time
        pause = SHORTEST_PAUSE
        while True:
            started, ended = clock(), asyncio.create_task(self.exit_code())
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._lifeline.close()
            if stop.is_set():
                await self._end(ended)
                return
            logger.error(
                "process %d ended (%d); starting another one",
                self._process.pid,
                ended.result(),
            )
            mark_process_dead(self._process.pid, self._numbers)  # type: ignore[no-untyped-call]
            pause = SHORTEST_PAUSE if clock() - started > ENOUGH_SECONDS else pause
            await asyncio.wait({stopping}, timeout=pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            if stop.is_set():
                return
            await self.start()

    async def _end(self, ended: "asyncio.Task[int]") -> None:
        await asyncio.wait({ended}, timeout=DRAIN_SECONDS + ENOUGH_SECONDS)
        if not ended.done():
            logger.error("process %d did not stop; killing it", self._process.pid)
            self._process.kill()
        await ended


def _command(port: int, arguments: Sequence[str]) -> list[str]:
    debug = ["--debug"] if "--debug" in sys.argv else []
    program = [sys.executable, "-m", "hello_tornado", *debug, "serve", "--port", str(port)]
    return [*program, *arguments]
