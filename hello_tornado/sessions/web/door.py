"""Sessions in handlers without our mixin: of another program, or of an application's own base."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler

from hello_tornado.sessions import options
from hello_tornado.sessions.carriers.carrier import NOTHING_PRESENTED, is_carrier
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.errors import (
    ConfigurationError,
    ReadOnly,
    ResponseStarted,
    SessionNotLoaded,
)
from hello_tornado.sessions.events import EndedReason
from hello_tornado.sessions.manager.manager import SessionManager
from hello_tornado.sessions.manager.reader import TO_LOOK_AT
from hello_tornado.sessions.manager.watcher import Watch
from hello_tornado.sessions.records.record import SessionRecord
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.stores.deadlines import Wait
from hello_tornado.sessions.web.binding import when_headers_leave
from hello_tornado.sessions.web.mixin import SessionMixin
from hello_tornado.sessions.web.pending_finish import PendingFinish
from hello_tornado.sessions.web.request_session import (
    NOT_DUE,
    RequestSession,
    open_presented,
)
from hello_tornado.sessions.web.websocket import SESSION_ENDED, ignored

logger = logging.getLogger("hello_tornado.sessions")

# The attribute of a request that holds what each door has opened; it goes with the request.
OPENED: Final = "_hello_tornado_sessions"


Secret: TypeAlias = str | bytes
Secrets: TypeAlias = Secret | Sequence[Secret] | Mapping[int, Secret]


class _Opened:
    """What one door has opened for one request."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.request_session: RequestSession | None = None
        self.pending: PendingFinish | None = None


class SessionDoor:
    """Opens and saves sessions for any handler: no mixin, and no setting of the application.

    The same session as that of a `SessionMixin`, if the secrets and the manager are the same. The
    cookie's name and attributes are those of the manager: `SessionManager(cookie=…)`.

    - *manager*: the sessions.
    - *cookie_secret*: what signs the cookie, as Tornado's setting of that name: a str or bytes of
      at least 16 bytes, a list of them (the first one signs), or a dict by version.
    - *key_version*: with a dict, the version that signs; by default the highest.

    An argument that cannot work is a `ConfigurationError`.
    """

    @options.checked(
        manager=options.instance_of(SessionManager, 'SessionManager("sqlite:///sessions.db")')
    )
    def __init__(
        self, manager: SessionManager, *, cookie_secret: Secrets, key_version: int | None = None
    ) -> None:
        self.manager = manager
        settings: dict[str, Any] = {"cookie_secret": cookie_secret}
        if key_version is not None:
            settings["key_version"] = key_version
        self._keyring = Keyring.of(settings)

    async def open(self, at: RequestHandler | HTTPServerRequest) -> Session:
        """The session that a request asks for; a new, empty one for a visitor without one.

        *at* is the handler of the request, or the request itself where there is no handler. All
        calls for one request return the same session, also calls that run side by side. Nothing of
        it is stored before `save`, not even a logout.

        `StoreUnavailable` while the store is down. `TypeError` for a handler with `SessionMixin`
        and this manager, whose session is `handler.session`.
        """
        if isinstance(at, SessionMixin) and at.session_manager is self.manager:
            raise TypeError(f"{type(at).__name__} has the SessionMixin: use self.session")
        opened, request = self._opened(at), _request_of(at)
        async with opened.lock:
            if opened.request_session is None:
                new = RequestSession(self.manager, self._keyring, request)
                with new.wait:
                    new.session, new.signed = await open_presented(self.manager, new.presented)
                new.use = "used"
                opened.request_session = new
        _write_headers_of(at, opened.request_session)
        return opened.request_session.session

    async def save(self, at: RequestHandler | HTTPServerRequest, session: Session) -> HTTPHeaders:
        """Store what was done to a *session* that `open` has returned for the same request.

        Call it before `finish()`, or the first `flush()`. The response of a handler then carries
        the cookie, also when it is an error's page. It may be called again after further changes.
        Calls that run side by side take their turns. When the waiting is cancelled, the session is
        stored all the same. When the session has ended meanwhile, elsewhere, the changes are
        dropped, and `session.ended` is true.

        Returns headers that the caller must send: none for a handler, which sends them itself. For
        a request without a handler they are its response's; a login, a renewal and the first change
        of a new session belong before the first save, which counts as the moment they leave.

        `ResponseStarted` when the headers have left and the browser would need a cookie: the
        session is new, was logged in to or renewed. Nothing is stored then. Other changes are
        stored also after the end of the response. `StoreUnavailable` while the store is down; the
        session keeps its changes, and may be saved again.
        """
        opened = self._opened(at)
        request_session = opened.request_session
        if request_session is None or request_session.session is not session:
            raise SessionNotLoaded(
                "this session was not opened for this request: session = await door.open(handler), "
                "and then await door.save(handler, session)"
            )
        _write_headers_of(at, request_session)
        step = partial(_store, request_session)
        opened.pending = pending = PendingFinish(step, _nobody_waits, opened.pending)
        await pending
        headers = HTTPHeaders()
        if isinstance(at, HTTPServerRequest):
            request_session.write_headers(headers)
        return headers

    async def session_of(
        self, cookie_header: str | bytes | None, *, https: bool | None = None
    ) -> Session | None:
        """The living session that a Cookie header names, to look at: it refuses writes.

        For a header from somewhere else than a Tornado request, such as an ASGI scope or another
        process. With a `TokenPolicy` it is the value of that header. *https* says how the browser
        sent it, because a cookie may have another name over https; None: either way. A look is no
        use of the session. To change it: `manager.transaction(session.handle)`.

        None when there is no such header, when it names no living session of ours, and when it
        names several. `StoreUnavailable` while the store is down. `ConfigurationError` when the
        manager's `cookie` is a function, which needs a request.
        """
        policy = self.manager.cookie
        if not is_carrier(policy):
            raise ConfigurationError(
                "session_of() needs a SessionManager(cookie=…) that is a CookiePolicy or a "
                "TokenPolicy; a function chooses by a request: await door.open(request)"
            )
        if cookie_header is None:
            return None
        text = cookie_header if isinstance(cookie_header, str) else cookie_header.decode("latin-1")
        presented = NOTHING_PRESENTED
        for over_https in (True, False) if https is None else (https,):
            if presented is NOTHING_PRESENTED:
                now = self.manager.now()
                presented = policy.ids_in([text], self._keyring, now, https=over_https)
        with Wait():
            session, _signed = await open_presented(self.manager, presented)
        session.refusal = ReadOnly(TO_LOOK_AT)
        return None if session.is_new else session

    def watch(
        self,
        handler: WebSocketHandler,
        session: Session,
        on_change: Callable[[Session], object] | None = None,
    ) -> None:
        """Close a socket when its *session* ends, in this process or another one.

        Call it in the handler's `open()`. The code is 4401, and the reason that of the end:
        "logged_out", "revoked", "expired", or "renewed" when the session has got a new id. That
        takes a second at most. Messages that arrive afterwards are ignored. A session that is not
        stored has no end, and one that has ended already closes the socket at once.

        *on_change* is called on the event loop, within a second after the session was changed or
        used in this process or another one, with the newest copy, which refuses writes. When the
        session has ended it is called with *session* itself, which is `ended` and empty.

        `RuntimeError` when the socket is not open yet.
        """
        if handler.get_status() != 101:
            raise RuntimeError("a socket is watched when it is open: call door.watch() in open()")
        record, watcher = session.record, self.manager.watcher
        if handler.ws_connection is None:  # it was closed meanwhile
            return
        if session.ended:
            handler.close(SESSION_ENDED, session.ended_reason or EndedReason.ENDED)
            return
        if record is None:
            return
        tell = on_change or _nobody_listens

        def changed(record: SessionRecord) -> None:
            tell(self.manager._reader.to_look_at(record))

        watch = Watch(changed, partial(_close, handler, session, tell))
        watcher.add(record, watch)
        on_close = handler.on_close

        def stop() -> None:
            watcher.remove(record.key, watch)
            vars(handler).pop("on_close", None)  # or the handler would refer to itself
            on_close()

        handler.on_close = stop  # type: ignore[method-assign]

    def _opened(self, at: RequestHandler | HTTPServerRequest) -> _Opened:
        of_all_doors: dict[SessionDoor, _Opened] = vars(_request_of(at)).setdefault(OPENED, {})
        return of_all_doors.setdefault(self, _Opened())


def _request_of(at: RequestHandler | HTTPServerRequest) -> HTTPServerRequest:
    return at.request if isinstance(at, RequestHandler) else at


def _write_headers_of(at: RequestHandler | HTTPServerRequest, opened: RequestSession) -> None:
    """Let the response of a handler carry the session's headers."""
    if isinstance(at, RequestHandler):
        when_headers_leave(at, opened.write_headers)


async def _store(opened: RequestSession) -> None:
    session = opened.session
    if session.logs_in:
        session._note_device(opened.device)
    due = opened.due()
    if due.gives_id and session.response != "not started":
        if session.modified:
            raise ResponseStarted(
                "the headers of this response have left, and a cookie can no longer follow them: "
                "await door.save(handler, session) before the first flush() and before finish()"
            )
    elif due is not NOT_DUE:
        await opened.carry_out(due)


def _nobody_waits(error: Exception) -> None:
    """A save has failed, and the handler that has begun it was cancelled."""
    logger.error("a session could not be saved, and nobody waits for it any more: %s", error)


def _nobody_listens(session: Session) -> None:
    """What is told of a change when `watch` was given no function."""


def _close(
    handler: WebSocketHandler,
    session: Session,
    tell: Callable[[Session], object],
    reason: EndedReason,
) -> None:
    session.end(reason)
    handler.on_message = ignored  # type: ignore[method-assign]
    handler.close(SESSION_ENDED, reason)
    tell(session)
