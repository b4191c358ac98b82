"""What one run takes place in: processes of the application, a network, and a database."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.faults.databases import Database, free_port
from bench.faults.proxy import Proxy
from bench.load import with_children

ROOT = Path(__file__).parent.parent.parent
PROCESSES = 2
START_SECONDS = 30


class Process:
    """A process of the application, which listens on a port; on several, it forks."""

    def __init__(self, url: str, ports: Sequence[int], log: Path, options: Sequence[str]) -> None:
        self.ports = ports
        self._command = [sys.executable, "-m", "bench.faults.app", url, *map(str, ports), *options]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = process = self._launch()
        deadline = time.monotonic() + START_SECONDS
        while not all(map(_is_listening, self.ports)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the application did not start; see {self._log}")
            await asyncio.sleep(0.02)

    def _launch(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it by a signal, and wait for its end."""
        self.send(number)
        if self._process is not None:
            await asyncio.to_thread(self._process.wait, START_SECONDS)

    @property
    def pids(self) -> list[int]:
        """Those of the processes that answer requests."""
        if self._process is None:
            return []
        family = [*with_children(self._process.pid)]
        return family if len(self.ports) == 1 else family[1:]


@dataclass(frozen=True)
class World:
    """Everything that a fault can happen to. Each process has a network of its own."""

    database: Any  # a Database; what can happen to it, its own class says
    processes: Sequence[Process]
    networks: Sequence[Proxy]

    @property
    def ports(self) -> list[int]:
        """Where the processes listen, in their order."""
        return [port for process in self.processes for port in process.ports]

    def connections(self) -> int:
        """How many connections the processes have to the database."""
        return self.database.connections([pid for one in self.processes for pid in one.pids])


@asynccontextmanager
async def world_of(
    database: Database, log: Path, *, is_forked: bool, options: Sequence[Sequence[str]]
) -> AsyncIterator[World]:
    """A world on a database that is up; `options` are those of each process."""
    async with AsyncExitStack() as stack:
        networks = [
            await stack.enter_async_context(Proxy(partial(database.port_for, place)).listening())
            for place, _ in enumerate(options)
        ]
        groups = [[free_port() for _ in range(PROCESSES)]] if is_forked else None
        processes = []
        for network, given in zip(networks, options, strict=True):
            ports = groups[0] if groups else [free_port()]
            process = Process(database.url(network.port), ports, log, given)
            stack.push_async_callback(process.end)
            await process.start()
            processes.append(process)
            if groups:
                break
        yield World(database, processes, networks)


def _is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
