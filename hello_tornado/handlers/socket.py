"""The socket by which an open page learns at once what becomes of its session."""

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

    A client that sends and never reads is not read either, because the answer to each message is
    awaited; the next ping that it does not answer closes its socket.
    """

    async def open(self) -> None:
        """Say how the session stands."""
        self.settings["sockets"].add(self)
        await self._say()

    async def on_message(self, _message: str | bytes) -> None:
        """Say again how the session stands."""
        await self._say()

    def on_session_change(self) -> None:
        """Say that the session ends later now, because somebody has used it."""
        self._saying = asyncio.ensure_future(self._say())

    def on_close(self) -> None:
        """The other end is gone."""
        self.settings["sockets"].discard(self)

    def go_away(self) -> None:
        """The server stops: the page should come back soon, to the next one."""
        self.close(GOING_AWAY, "the server stops")

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Tornado's hook; a message that the end of the server has cancelled is no error."""
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
        with suppress(WebSocketClosedError):  # the client has gone away meanwhile
            await self.write_message(state)
