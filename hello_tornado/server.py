"""Runs one server process, from the checks at startup to the last response after a signal."""

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado import version as tornado_version
from tornado.netutil import bind_sockets
from tornado.web import Application

from hello_tornado import __version__, runtime
from hello_tornado.config.durations import words
from hello_tornado.config.secret import cookie_secret
from hello_tornado.config.settings import Loaded, Settings
from hello_tornado.connections import PoliteServer, connections_allowed
from hello_tornado.database import migrate
from hello_tornado.database.connection import has_schema
from hello_tornado.database.databases import store_name
from hello_tornado.handlers.in_flight import InFlight
from hello_tornado.problem import Problem
from hello_tornado.service import Service, prepare_schema

logger = logging.getLogger("hello_tornado.server")

DRAIN_SECONDS = 10
MAX_HEADER_BYTES = 16 * 1024
MAX_BODY_BYTES = 1024 * 1024
HEADER_SECONDS = 60
BODY_SECONDS = 15


async def serve(loaded: Loaded, tell: Callable[[str], None], lifeline: int | None = None) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP, then finish the requests in flight.

    *tell* shows a line to the person who started the server. *lifeline* is the file descriptor of
    a socket for one of several processes: the process shares the port with the others, and stops
    when the other end of the socket is closed. Without one (the default) it is the only process.

    Raises `Problem` when the address, the secret or the schema does not allow it to start.
    """
    settings, stop = loaded.settings, set_by_signals()
    cookie_secret(settings)
    backup = prepare_schema(settings)
    sockets = _listen(settings, shared=lifeline is not None)
    service = Service(settings)
    app = service.application()
    server = PoliteServer(
        app,
        max_header_size=MAX_HEADER_BYTES,
        max_body_size=MAX_BODY_BYTES,
        idle_connection_timeout=HEADER_SECONDS,
        body_timeout=BODY_SECONDS,
    )
    server.limit(connections_allowed())
    try:
        await service.start()
        server.add_sockets(sockets)
        runtime.spare_requests()
        if lifeline is None:
            store = str(service.manager.store)
            announce(loaded, store, sockets[0].getsockname(), backup, tell)
            await stop.wait()
            tell("stopping: finishing the requests in flight")
        else:
            await _hold(lifeline, stop)
        await _drain(server, app)
    finally:
        await service.aclose()


async def _hold(lifeline: int, stop: asyncio.Event) -> None:
    """Tell the supervisor that we listen; return when it closes its end, or after a signal."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=lifeline))
    writer.write(b"listening\n")
    ends = {asyncio.create_task(reader.read()), asyncio.create_task(stop.wait())}
    _, waiting = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    writer.close()


def announce(
    loaded: Loaded,
    store: str,
    address: tuple[Any, ...],
    backup: Path | None,
    tell: Callable[[str], None],
) -> None:
    """Show where the server listens and how it is set up."""
    settings = loaded.settings
    host, port = address[:2]
    shown_host = f"[{host}]" if ":" in host else host
    schema = (
        f"  schema {migrate.state(settings.store.url).current}"
        if has_schema(settings.store.url)
        else ""
    )
    lifetimes, cookie = settings.lifetimes, settings.cookie
    limits = [
        f"{words(lifetimes.idle)} idle" if lifetimes.idle else "no idle timeout",
        f"{words(lifetimes.absolute)} at most" if lifetimes.absolute else "no absolute timeout",
    ]
    flags = [
        cookie.name,
        "HttpOnly" if cookie.httponly else "readable by scripts",
        f"SameSite={(cookie.samesite or 'omitted').title()}",
        f"Secure={cookie.secure}".lower().replace("secure", "Secure"),
        "as long as the session" if cookie.persist else "until the browser is closed",
    ]
    count = settings.server.processes
    company = f"{count} processes, " if count > 1 else ""
    loop = runtime.fastest_loop().name
    tell(f"hello_tornado {__version__}, Tornado {tornado_version}, {loop}")
    tell(f"   listening http://{shown_host}:{port}/  ({company}Ctrl+C stops)")
    tell(f"   sessions  {store_name(settings)} {store}{schema}")
    tell(f"   lifetime  {', '.join(limits)}; purge every {words(settings.purge.every)}")
    tell(f"   cookie    {'  '.join(flags)}")
    if backup is not None:
        tell(f"   backup    {backup}, made before the schema was upgraded")
    tell(f"   settings  {', '.join(loaded.sources) or 'defaults'}")


def free_address(settings: Settings) -> tuple[str, int]:
    """Return the address at which several processes will listen, after checking that it is free.

    Port 0 is replaced by a free port. Raises `Problem` when the address is in use, or when the
    system does not let processes share a port.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise Problem(
            "this system does not let processes share a port", "set server.processes to 1"
        )
    sockets = _listen(settings)
    try:
        host, port = sockets[0].getsockname()[:2]
    finally:
        for one in sockets:
            one.close()
    return host, port


def _listen(settings: Settings, *, shared: bool = False) -> list[socket.socket]:
    host, port = settings.server.host, settings.server.port
    try:
        return bind_sockets(port, host, reuse_port=shared)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Problem(
                f"{host}:{port} is already in use",
                "set server.port, or run: python -m hello_tornado serve --port 0",
            ) from error
        raise Problem(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            "set server.host to an address of this machine and server.port to a port you may use",
        ) from error


def set_by_signals() -> asyncio.Event:
    """Return an event that SIGTERM, SIGINT and SIGHUP set; they no longer do anything else.

    SIGHUP stays ignored if the server was started with nohup.
    """
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            loop.add_signal_handler(number, stop.set)
    return stop


async def _drain(server: PoliteServer, app: Application) -> None:
    """Accept no new connections, answer the requests received so far, close all connections."""
    in_flight: InFlight = app.settings["in_flight"]
    in_flight.is_last = True
    for socket_handler in [*app.settings["sockets"]]:
        socket_handler.go_away()
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            await server.drain()
            await in_flight.none_left.wait()  # also requests whose client has disconnected
    except TimeoutError:
        logger.warning("%d requests did not end in %d s", len(in_flight), DRAIN_SECONDS)
    await server.close_all_connections()
