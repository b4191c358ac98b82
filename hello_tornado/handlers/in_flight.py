"""Counts the requests that a server must answer before it stops."""

import asyncio

from tornado.web import RequestHandler


class InFlight:
    """The requests that have begun and are not answered yet.

    When the server stops, it sets `is_last`: each response is the last one on its connection.
    `none_left` is set while there are none.
    """

    def __init__(self) -> None:
        self.is_last = False
        self._handlers: set[RequestHandler] = set()
        self.none_left = asyncio.Event()
        self.none_left.set()

    def __len__(self) -> int:
        return len(self._handlers)

    def begin(self, handler: RequestHandler) -> None:
        """*handler* has begun a request."""
        self._handlers.add(handler)
        self.none_left.clear()

    def end(self, handler: RequestHandler) -> None:
        """*handler* has answered its request."""
        self._handlers.discard(handler)
        if not self._handlers:
            self.none_left.set()
