"""Sessions in Tornado's WebSockets: stored before the 101 leaves, then message by message."""

from contextlib import AbstractAsyncContextManager
from typing import Any

from tornado.websocket import WebSocketHandler

from hello_tornado.sessions.errors import ReadOnly
from hello_tornado.sessions.session import Session
from hello_tornado.sessions.web import SessionMixin


class WebSocketSessionMixin(SessionMixin, WebSocketHandler):
    """Gives a WebSocket its session: readable from `prepare()` on, stored before the 101 leaves.

    A socket outlives its request, so `session` can no longer be changed once it is open: each
    message that writes does so in `async with self.session_transaction() as session:`.
    """

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Store the session, so that its cookie rides on the 101; then open the socket."""
        await self.save_session()
        self._is_sending = True  # Tornado detaches the connection right after finish()
        self.session.refusal = ReadOnly(
            "an open socket's session changes message by message: "
            "async with self.session_transaction() as session: ..."
        )
        await super().get(*args, **kwargs)

    def session_transaction(self) -> AbstractAsyncContextManager[Session]:
        """The session as it stands now, stored on leaving; one that refuses writes if it ended."""
        return self.session_manager.transaction(self._session_id)
