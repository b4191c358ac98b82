"""The server's connections: fewer than the system has files for, and closed politely at the end.

At the end of its files Tornado's accept would fail and be tried again at once, for ever, with a
line in the log each time. Here the connection that has been idle for longest makes room instead. A
client that does not read its response is no longer waited for: it would never be idle.
"""

import asyncio
import resource
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream

RESERVED_FILES: Final = 64  # for the store, the log, templates and what Python opens
MOST_FILES: Final = 65_536
ANSWER_SECONDS: Final = 60.0  # from the head of a request until its response has left
# Tornado takes a query apart, and copies it, before anything of ours is asked: 16 KiB of short
# fields would cost as much as twenty pages.
MAX_QUERY_FIELDS: Final = 100


class PoliteServer(HTTPServer):
    """An HTTP server that holds so many connections and no more, and can drain them.

    A connection is idle from its beginning, or from the end of a response, until the head of a
    request has arrived.
    """

    _max_connections = MOST_FILES
    _answer_seconds = ANSWER_SECONDS

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """Tornado's constructor."""
        super().initialize(*args, **kwargs)
        self._streams: dict[IOStream, None] = {}  # in the order of their arrival
        self._idle: dict[object, IOStream] = {}
        self._served: dict[object, IOStream] = {}
        self._deadlines: dict[object, asyncio.TimerHandle] = {}
        self._changed = asyncio.Event()

    def limit(self, max_connections: int, answer_seconds: float = ANSWER_SECONDS) -> None:
        """Hold so many connections at most, and close one whose response takes so long."""
        self._max_connections = max_connections
        self._answer_seconds = answer_seconds

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a connection on; when there are too many, let the oldest idle one go."""
        if len(self._streams) >= self._max_connections:
            self._streams = dict.fromkeys(one for one in self._streams if not one.closed())
        if len(self._streams) >= self._max_connections:
            busy = {*self._served.values()}.difference(self._waiting())
            (next((one for one in self._streams if one not in busy), stream)).close()
        if not stream.closed():
            self._streams[stream] = None
            super().handle_stream(stream, address)

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        """Tornado's hook: a connection waits for its next request."""
        self._answered(server_conn)
        stream: IOStream = server_conn.stream  # type: ignore[attr-defined]
        if self.conn_params.no_keep_alive and server_conn in self._served:
            stream.close()  # as the last response has said
        if stream.closed():  # Tornado goes on to read what the client had sent by then
            return HTTPMessageDelegate()
        self._served[server_conn] = self._idle[server_conn] = stream
        self._changed.set()
        delegate = super().start_request(server_conn, request_conn)
        return _Head(delegate, request_conn, lambda: self._begin_request(server_conn))

    def _begin_request(self, server_conn: object) -> None:
        stream = self._idle.pop(server_conn, None)
        if stream is not None:
            loop = asyncio.get_running_loop()
            self._deadlines[server_conn] = loop.call_later(self._answer_seconds, stream.close)

    def _answered(self, server_conn: object) -> None:
        deadline = self._deadlines.pop(server_conn, None)
        if deadline is not None:
            deadline.cancel()

    def on_close(self, server_conn: object) -> None:
        """Tornado's hook: a connection is closed, or has become a WebSocket's."""
        self._answered(server_conn)
        self._idle.pop(server_conn, None)
        self._served.pop(server_conn, None)
        self._changed.set()
        super().on_close(server_conn)

    async def drain(self) -> None:
        """Accept no more, answer what has been received, and close each connection after that.

        Responses say `Connection: close`; those of requests that had begun before get it from
        their handlers.
        """
        self.conn_params.no_keep_alive = True
        # The kernel may have accepted connections and received requests that we have yet to read.
        for _ in range(3):
            await asyncio.sleep(0)
        self.stop()
        while self._served:
            self._changed.clear()
            self._close_idle()
            await self._changed.wait()

    def _close_idle(self) -> None:
        for stream in self._waiting():
            if not _has_received(stream):
                stream.close()

    def _waiting(self) -> list[IOStream]:
        """The connections that can be closed without a request being carried out unanswered.

        A stream that reads no more has been closed, or has a request's head that Tornado's
        coroutine is about to take; it would be carried out after the connection is gone.
        """
        return [stream for stream in self._idle.values() if stream.reading()]


class _Head(HTTPMessageDelegate):
    """Calls *begin* when the head of a request is there, and passes on what is no burden."""

    def __init__(
        self, delegate: HTTPMessageDelegate, connection: HTTPConnection, begin: Callable[[], None]
    ) -> None:
        self._delegate = delegate
        self._connection = connection
        self._begin = begin

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._begin()
        path = start_line.path if isinstance(start_line, RequestStartLine) else ""
        if path.count("&") >= MAX_QUERY_FIELDS:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG)
            return None
        return self._delegate.headers_received(start_line, headers)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer with a *status* alone, and close the connection."""
        self._delegate = HTTPMessageDelegate()
        headers = HTTPHeaders({"Content-Length": "0", "Connection": "close"})
        self._connection.write_headers(
            ResponseStartLine("HTTP/1.1", status, status.phrase), headers
        )
        self._connection.finish()

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()


def _has_received(stream: IOStream) -> bool:
    """Whether the kernel holds something that the client has sent and we have not read."""
    try:
        return bool(stream.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:  # nothing yet, or nobody there any more
        return False


def connections_allowed() -> int:
    """As many as this process may have files, once it has asked for more, but for some reserved."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(1, wanted - RESERVED_FILES)
