"""A TCP proxy between a process and its database, and what a network does to the bytes."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum

CHUNK = 65_536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds: closing sends a RST
SLOW_SECONDS = 0.2
LATE_SECONDS = 5
CUT = 0.1


class Network(Enum):
    """What happens to what passes."""

    FINE = "passes everything on"
    REFUSES = "refuses new connections and closes the others"
    RESETS = "resets each connection that is opened or used"
    SLOW = "passes everything on 0.2 s later"
    LATE = "passes everything on 5 s later, when the store has given up"
    SWALLOWS = "passes nothing on; a connection that was used stays silent for ever"
    CUTS = "breaks off in the middle of a tenth of the replies"


class Proxy:
    """Leads from a port of its own to `target()`, a port that may change."""

    def __init__(self, target: Callable[[], int]) -> None:
        self.port = 0
        self._network = Network.FINE
        self._target = target
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Proxy"]:
        """The proxy, until the block ends."""
        await self._listen()
        try:
            yield self
        finally:
            await self._stop_listening()
            await self._end_connections()

    @asynccontextmanager
    async def being(self, network: Network) -> AsyncIterator[None]:
        """The network as it is until the block ends."""
        self._network = network
        if network is Network.REFUSES:
            await self._stop_listening()
            await self._end_connections()
        try:
            yield
        finally:
            self._network = Network.FINE
            if network is Network.REFUSES:
                await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _end_connections(self) -> None:
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._network is Network.RESETS:
            _reset(writer)
            return
        try:
            replies, questions = await asyncio.open_connection("127.0.0.1", self._target())
        except OSError:
            _reset(writer)
            return
        asking = asyncio.create_task(self._pass_on(reader, questions, writer, is_reply=False))
        try:
            await self._pass_on(replies, writer, writer, is_reply=True)
            # What the process sent before it gave up still arrives, as in a real network.
            await asyncio.wait({asking}, timeout=LATE_SECONDS + 1)
        finally:
            asking.cancel()
            questions.close()
            writer.close()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        to_process: asyncio.StreamWriter,
        *,
        is_reply: bool,
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                match self._network:
                    case Network.RESETS:
                        _reset(to_process)
                        break
                    case Network.SLOW:
                        await asyncio.sleep(SLOW_SECONDS)
                    case Network.LATE:
                        await asyncio.sleep(LATE_SECONDS)
                    case Network.SWALLOWS:
                        while await reader.read(CHUNK):
                            pass
                        break
                    case Network.CUTS if is_reply and random.random() < CUT:
                        writer.write(data[: len(data) // 2])
                        break
                writer.write(data)
                await writer.drain()
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.close()
