"""The WebSocket that tells an open page at once when its session changes or ends."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, Final

from tornado.websocket import WebSocketClosedError

from hello_tornado.handlers.base import PlainHandler
from hello_tornado.sessions import WebSocketSessionMixin

GOING_AWAY: Final = 1001


class SocketHandler(WebSocketSessionMixin, PlainHandler):
    """GET /ws

    No more messages are read from a client that does not read, because the answer to each message
    is awaited. Its socket is closed when it does not answer the next ping.
    """

    async def open(self) -> None:
        """Send the state of the session."""
        self.settings["sockets"].add(self)
        await self._say()

    async def on_message(self, _message: str | bytes) -> None:
        """Send the state of the session again."""
        await self._say()

    def on_session_change(self) -> None:
        """Send the new end of the session, after another request has used it."""
        self._saying = asyncio.ensure_future(self._say())

    def on_close(self) -> None:
        """Tornado's hook: the socket is closed."""
        self.settings["sockets"].discard(self)

    def go_away(self) -> None:
        """Close the socket because the server stops; the page then connects to the next server."""
        self.close(GOING_AWAY, "the server is stopping")

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Tornado's hook; a message cancelled because the server stops is not an error."""
        if not isinstance(value, asyncio.CancelledError):
            super().log_exception(typ, value, tb)

    async def _say(self) -> None:
        session = self.session
        state: dict[str, Any] = {
            "handle": session.handle,
            "user": session.user_id,
            "expires_at": session.expires_at.isoformat(),
            "expires_in": int(session.expires_in.total_seconds()),
        }
        with suppress(WebSocketClosedError):  # the client has just disconnected
            await self.write_message(state)
