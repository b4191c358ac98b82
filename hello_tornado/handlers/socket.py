"""The line by which an open page learns at once what becomes of its session."""

from contextlib import suppress

from tornado.websocket import WebSocketClosedError

from hello_tornado.handlers.base import PlainHandler
from hello_tornado.sessions import WebSocketSessionMixin

GOING_AWAY = 1001


class SocketHandler(WebSocketSessionMixin, PlainHandler):
    """GET /ws"""

    def open(self) -> None:
        """Say how the session stands."""
        self.settings["sockets"].add(self)
        self._say()

    def on_message(self, _message: str | bytes) -> None:
        """Whoever says anything wants to hear it again."""
        self._say()

    def on_session_change(self) -> None:
        """Somebody has used the session: it will end later now."""
        self._say()

    def on_close(self) -> None:
        """The other end is gone."""
        self.settings["sockets"].discard(self)

    def go_away(self) -> None:
        """The server stops: the page should come back soon, to the next one."""
        self.close(GOING_AWAY, "the server stops")

    def _say(self) -> None:
        session = self.session
        with suppress(WebSocketClosedError):
            self.write_message(
                {
                    "handle": session.handle,
                    "user": session.user_id,
                    "expires_at": session.expires_at.isoformat(),
                    "expires_in": int(session.expires_in.total_seconds()),
                }
            )
