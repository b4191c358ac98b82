"""Sessions in Tornado's WebSockets: stored before the 101 leaves, and watched until they end."""

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

SESSION_ENDED: Final = 4401  # a code for applications to choose, after HTTP's 401


class WebSocketSessionMixin(SessionMixin, WebSocketHandler):
    """Gives a WebSocket its session, and closes it when the session ends.

    Who is not logged in is refused with 403 before the upgrade; a socket that is for everybody says
    `login_required = False`. When the session is logged out, revoked or expires, in whichever
    process, the socket is closed within a second with the code 4401 and the reason. It is closed
    likewise ("renewed") when the session gets a new id, for the old one may be in a thief's hands;
    the page opens it anew.

    The session is readable from `prepare()` on and stored before the 101 leaves. A socket outlives
    its request: `session` follows what others do to the session, but for half a second, and can no
    longer be changed. Each message that writes does so in
    `async with self.session_transaction() as session:`. What a socket reads keeps nobody logged in,
    and neither does its being there, unless it says `session_touch = True`.
    """

    login_required = True
    session_touch = False

    _errors_begin_at = 400  # a socket that is refused stores nothing but a logout
    _attribute_checks: ClassVar[Mapping[str, options.Check]] = {"login_required": options.flag}

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Open the socket, once the session is stored, so that its cookie leaves with the 101."""
        if self.login_required and self.session.user_id is None:
            raise HTTPError(403, "a socket needs somebody who is logged in")
        await super().get(*args, **kwargs)

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        """Tornado's protocol, which stores the session before it accepts the connection."""
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
        """Called when somebody else has changed or used the session; `session` is the new one."""

    def on_session_end(self, reason: EndedReason) -> None:
        """Called when the session is over; closes the socket. No message arrives any more."""
        self.close(SESSION_ENDED, reason)

    @asynccontextmanager
    async def session_transaction(self) -> AsyncIterator[Session]:
        """The session as it stands now, stored on leaving; one that refuses writes if it ended."""
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
            "an open socket's session changes message by message: "
            "async with self.session_transaction() as session: ..."
        )


class SessionWebSocketHandler(WebSocketSessionMixin):
    """A WebSocket with a session; see `WebSocketSessionMixin`."""


def ignored(message: str | bytes) -> Awaitable[None] | None:  # noqa: ARG001
    """What becomes of messages that were under way when the session ended."""
    return None
