"""Keeps the connections below the limit of open files, and closes them in order at the end.

In a process that has no file descriptors left, Tornado's accept fails and is repeated at once,
forever, with a log line each time. Here the connection that has been idle for longest is closed
instead. A client that does not read its response is disconnected, because its connection would
never become idle.
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
ANSWER_SECONDS: Final = 60.0  # from the headers of a request until its response has been sent
# Tornado parses and copies a query before it calls our code: 16 KiB of short fields would cost
# as much as twenty pages.
MAX_QUERY_FIELDS: Final = 100


class PoliteServer(HTTPServer):
    """An HTTP server with a limited number of connections, which it can drain.

    A connection is idle from its beginning, or from the end of a response, until the headers of a
    request have arrived.
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
        """Set the highest number of connections, and the longest time for a response.

        A connection whose response has not been sent *answer_seconds* (60 by default) after the
        headers of its request is closed.
        """
        self._max_connections = max_connections
        self._answer_seconds = answer_seconds

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Accept a connection; when there are too many, first close the oldest idle one.

        If none is idle, the new connection is closed.
        """
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
        """Tornado's hook: a connection begins to wait for its next request."""
        self._answered(server_conn)
        stream: IOStream = server_conn.stream  # type: ignore[attr-defined]
        if self.conn_params.no_keep_alive and server_conn in self._served:
            stream.close()  # the last response said `Connection: close`
        if stream.closed():  # Tornado still reads what the client had sent by then
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
        """Tornado's hook: a connection has been closed, or has become a WebSocket."""
        self._answered(server_conn)
        self._idle.pop(server_conn, None)
        self._served.pop(server_conn, None)
        self._changed.set()
        super().on_close(server_conn)

    async def drain(self) -> None:
        """Accept no new connections, answer the requests received, then close each connection.

        Responses say `Connection: close`. For requests that had begun before, their handlers add
        this header.
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
        """Return the connections that can be closed without leaving a request unanswered.

        A stream that no longer reads has been closed, or has received headers that Tornado's
        coroutine is about to process. Tornado would carry that request out after the connection
        had been closed.
        """
        return [stream for stream in self._idle.values() if stream.reading()]


class _Head(HTTPMessageDelegate):
    """Calls *begin* when a request's headers arrive, and refuses queries with too many fields."""

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
        """Answer with *status* and no body, and close the connection."""
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
    """Whether the client has sent something that we have not read yet."""
    try:
        return bool(stream.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:  # nothing has arrived, or the client has disconnected
        return False


def connections_allowed() -> int:
    """Raise this process's limit of open files; return how many connections that allows.

    `RESERVED_FILES` of the files are kept for other uses.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(1, wanted - RESERVED_FILES)
