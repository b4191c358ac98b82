"""The requests that a server which stops has yet to answer."""

import asyncio

from tornado.web import RequestHandler


class InFlight:
    """The requests that are begun and not yet answered.

    Once the server stops, each of them `is_last` on its connection.
    """

    def __init__(self) -> None:
        self.is_last = False
        self._handlers: set[RequestHandler] = set()
        self.none_left = asyncio.Event()
        self.none_left.set()

    def __len__(self) -> int:
        return len(self._handlers)

    def begin(self, handler: RequestHandler) -> None:
        """*handler* has taken a request on."""
        self._handlers.add(handler)
        self.none_left.clear()

    def end(self, handler: RequestHandler) -> None:
        """*handler* has answered."""
        self._handlers.discard(handler)
        if not self._handlers:
            self.none_left.set()
