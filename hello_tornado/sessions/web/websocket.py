"""Sessions in Tornado's WebSockets: stored before the 101 is sent, and watched until they end."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, ClassVar, Final

from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler, WebSocketProtocol, WebSocketProtocol13

from hello_tornado.sessions import options
from hello_tornado.sessions.errors import ReadOnly
from hello_tornado.sessions.events import EndedReason
from hello_tornado.sessions.manager.watcher import Watch
from hello_tornado.sessions.records.record import SessionRecord
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.web.binding import SENT
from hello_tornado.sessions.web.mixin import SessionMixin

SESSION_ENDED: Final = 4401  # close codes from 4000 are for applications; similar to HTTP's 401


class WebSocketSessionMixin(SessionMixin, WebSocketHandler):
    """Adds a session to a WebSocket handler, and closes the socket when the session ends.

    If the session is logged out, revoked or expires, in any process, the socket is closed within a
    second with the code 4401 and the reason. The same happens, with the reason "renewed", if the
    session gets a new id, because the old id may have been stolen; the page should then open a new
    socket.

    `session` is loaded before `prepare()` and stored before the 101 is sent. After that it is
    read-only and shows the changes of others within half a second. To change it, use
    `async with self.session_transaction() as session:`.

    Options are attributes of the handler class, beside those of `SessionMixin`:

    - `login_required`: visitors who are not logged in get a 403 before the upgrade (True).
    - `session_touch`: opening the socket and messages that only read count as use of the session
      (False).
    """

    login_required = True
    session_touch = False

    _errors_begin_at = 400  # if a socket is refused, only a logout is stored
    _attribute_checks: ClassVar[Mapping[str, options.Check]] = {"login_required": options.flag}

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Store the session, then open the socket, so that the 101 can send the cookie."""
        if self.login_required and self.session.user_id is None:
            raise HTTPError(403, "this socket requires a login")
        await super().get(*args, **kwargs)

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        """Return Tornado's protocol, with the session stored before it accepts the connection."""
        protocol = super().get_websocket_protocol()
        if isinstance(protocol, WebSocketProtocol13):
            accept = protocol._accept_connection
            protocol._accept_connection = partial(  # type: ignore[method-assign]
                self._save_then_accept, accept
            )
        return protocol

    async def _save_then_accept(
        self, accept: Callable[[WebSocketHandler], Awaitable[None]], handler: WebSocketHandler
    ) -> None:
        await self.save_session()
        self._phase = SENT[self._phase]  # Tornado detaches the connection right after finish()
        self._make_read_only(self.session)
        with self._watched():
            await accept(handler)

    def on_session_change(self) -> None:
        """Called after others have changed or used the session; `session` is the new state."""

    def on_session_end(self, reason: EndedReason) -> None:
        """Close the socket with the code 4401; called after the session has ended.

        No more messages are received. Override it to do something else.
        """
        self.close(SESSION_ENDED, reason)

    @asynccontextmanager
    async def session_transaction(self) -> AsyncIterator[Session]:
        """Read the session again, and store it at the end of the block.

        If the session has ended, writing to it raises `SessionEnded`. Errors in the block discard
        all changes except that the session ends.
        """
        session = await self.session_manager.reload(self.session)
        keeps_alive = self.session_touch
        async with self.session_manager.committing(session, keeps_alive=keeps_alive):
            yield session

    @contextmanager
    def _watched(self) -> Iterator[None]:
        record, watcher = self.session.record, self.session_manager.watcher
        if record is None:
            yield
            return
        watch = Watch(self._session_changed, self._session_ended)
        watcher.add(record, watch)
        try:
            yield
        finally:
            watcher.remove(record.key, watch)

    def _session_changed(self, record: SessionRecord) -> None:
        self._loaded().session = session = self.session_manager._reader.session(record)
        self._make_read_only(session)
        self.on_session_change()

    def _session_ended(self, reason: EndedReason) -> None:
        self.session.end()
        self.on_message = ignored  # type: ignore[method-assign]
        self.on_session_end(reason)

    def _make_read_only(self, session: Session) -> None:
        session.refusal = ReadOnly(
            "the session of an open socket is read-only; to change it: "
            "async with self.session_transaction() as session: ..."
        )


class SessionWebSocketHandler(WebSocketSessionMixin):
    """A WebSocket handler with a session; see `WebSocketSessionMixin`."""


def ignored(message: str | bytes) -> Awaitable[None] | None:  # noqa: ARG001
    """Ignore a message that arrives after the session has ended."""
    return None
