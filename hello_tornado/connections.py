"""How many connections the server holds: fewer than the system has files for.

At the end of its files Tornado's accept would fail and be tried again at once, for ever, with a
line in the log each time. Here the connection that has been idle for longest makes room instead.
"""

import resource
from collections.abc import Callable, Collection
from typing import Any, Final

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

RESERVED_FILES: Final = 64  # for the store, the log, templates and what Python opens
MOST_FILES: Final = 65_536


class BoundedServer(HTTPServer):
    """An HTTP server that holds so many connections and no more."""

    def limit(self, max_connections: int, busy: Callable[[], Collection[object]]) -> None:
        """Set the limit; *busy* tells which connections wait for an answer, and are left alone."""
        self._max_connections = max_connections
        self._busy = busy
        self._streams: dict[IOStream, None] = {}  # in the order of their arrival

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a connection on; when there are too many, let the oldest idle one go."""
        if len(self._streams) >= self._max_connections:
            self._streams = dict.fromkeys(one for one in self._streams if not one.closed())
        if len(self._streams) >= self._max_connections:
            busy = self._busy()
            (next((one for one in self._streams if one not in busy), stream)).close()
        if not stream.closed():
            self._streams[stream] = None
            super().handle_stream(stream, address)


def connections_allowed() -> int:
    """As many as this process may have files, once it has asked for more, but for some reserved."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(1, wanted - RESERVED_FILES)
