"""Sessions in `bokeh serve` and `panel serve`: a login, a logout, and the session of a document.

`BokehSessions` has what Bokeh looks for in an `--auth-module`. The callbacks of a document read the
session with `session_of`, and change it with `update_session` or `session_transaction`.
"""

import asyncio
import concurrent.futures
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import tornado.process
from bokeh.application.handlers.handler import Handler
from bokeh.core.types import ID
from bokeh.document import Document
from bokeh.events import ConnectionLost
from bokeh.protocol.exceptions import ProtocolError
from bokeh.server.contexts import ApplicationContext
from bokeh.util.token import get_session_id
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

from hello_tornado.sessions import options
from hello_tornado.sessions.carriers.cookies import CookiePolicy
from hello_tornado.sessions.errors import (
    ConfigurationError,
    ReadOnly,
    SessionNotLoaded,
)
from hello_tornado.sessions.integrations.login_pages import (
    LoginHandler,
    LoginPages,
    LogoutHandler,
    MayLogIn,
    is_check,
)
from hello_tornado.sessions.manager.manager import SessionManager
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.web.door import Secrets, SessionDoor

__all__ = ["BokehSessions", "session_of", "session_transaction", "update_session"]

Updated: TypeAlias = "asyncio.Future[Session | None] | concurrent.futures.Future[Session | None]"

logger = logging.getLogger("hello_tornado.sessions")

VISITOR: Final = "hello_tornado_visitor"  # Bokeh hands on a request's public attributes
READ_ONLY: Final = (
    "a document's session is changed with update_session(document, function), or in "
    "async with session_transaction(document) as session: ..."
)
PAGE: Final = re.compile(r"(/[A-Za-z0-9_-]+)+")
# Runs in the page when its socket is lost. While the person is logged in, `metadata` is a 200.
GO_TO_LOGIN: Final = """
fetch(location.pathname.replace(/[/]$/, "") + "/metadata", {redirect: "manual"})
    .then((answer) => { if (answer.type == "opaqueredirect") location.reload() })
"""


class BokehSessions:
    """Logs people in to a Bokeh or Panel server, and ends their documents with their sessions.

    An auth module makes one of these, and gives Bokeh its attributes by the names that Bokeh looks
    for: `get_user_async`, `login_url`, `LoginHandler`, `logout_url` and `LogoutHandler`.

    Args:
        sessions: The URL of a store, such as "sqlite:///sessions.db", or a `SessionManager` that
            nothing has used yet. Its first connection is opened by the first request, so each
            process of `--num-procs` has connections of its own.
        cookie_secret: What signs the cookie, at least 16 bytes; see `SessionDoor`.
        may_log_in: Called with the name, without spaces at its ends, and the password as it was
            typed. Returns the user id, or None for a wrong name or password. It may be async. While
            a function that is not async computes, all documents of the process wait: a check that
            takes long should be async and use `asyncio.to_thread`.
        login_url: The path of the login page, below Bokeh's `--prefix`.
        logout_url: The path of the logout page, likewise.
        template: The path of a Tornado template for both pages, in the place of our own. It is
            rendered with `user_id` (None on the login page), `next`, `username`, `message` (a
            string, may be empty) and `xsrf_form_html()`. `login_pages.html` beside this module
            shows the names of the fields.
        messages_keep_alive: True: what a person does in an open document counts as use of the
            session, so its idle timeout begins anew. False: only the loading of pages counts.

    Raises:
        ConfigurationError: An argument cannot work; the message says what to write.

    Attributes:
        manager: The `SessionManager`, to revoke sessions or to listen to events.
        login_url: As given.
        logout_url: As given.
        LoginHandler: The handler of the login page.
        LogoutHandler: The handler of the logout page.

    """

    LoginHandler: type[RequestHandler]
    LogoutHandler: type[RequestHandler]

    @options.checked(
        may_log_in=is_check,
        messages_keep_alive=options.flag,
        login_url=options.text(PAGE, 'a path such as "/login"'),
        logout_url=options.text(PAGE, 'a path such as "/logout"'),
    )
    def __init__(
        self,
        sessions: SessionManager | str,
        *,
        cookie_secret: Secrets,
        may_log_in: MayLogIn,
        login_url: str = "/login",
        logout_url: str = "/logout",
        template: str | Path | None = None,
        messages_keep_alive: bool = True,
    ) -> None:
        self.manager = SessionManager(sessions) if isinstance(sessions, str) else sessions
        self.login_url, self.logout_url = login_url, logout_url
        self._door = SessionDoor(self.manager, cookie_secret=cookie_secret)
        self._cookie_names = _names_of(self.manager.cookie)
        self._messages_keep_alive = messages_keep_alive
        self._pages = LoginPages(self._door, may_log_in, login_url, template)
        self.LoginHandler = self._pages.bound(LoginHandler)
        self.LogoutHandler = self._pages.bound(LogoutHandler)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    async def get_user_async(self, handler: RequestHandler) -> str | None:
        """Bokeh's hook: the id of the user who sends a request, or None.

        Anonymous visitors are sent to the login page. Their sockets are refused with 403, as are
        sockets to a document of another user. While the store is down, the answer is 503.
        """
        self._check_store_is_shared()
        session = await self._pages.open(handler)
        socket = handler if isinstance(handler, WebSocketHandler) else None
        if socket is None:
            handler.set_header("Cache-Control", "no-store")  # pages hold a token of their document
            if session.user_id is not None:  # counts as use; shows whether it has ended meanwhile
                await self._pages.save(handler, session)
        if session.user_id is None:
            if socket is not None:
                raise HTTPError(403, "a socket needs somebody who is logged in")
            if handler.request.method in {"GET", "HEAD"}:
                handler.redirect(self._pages.address(handler, back_to=handler.request.uri))
            return None
        visitor = _Visitor(self, session)
        owner = _owner_of_document(handler)
        if owner is not None and owner.user_id != visitor.user_id:
            raise HTTPError(403, "the document is another user's")
        if socket is not None:
            self._attach(socket, session, owner or visitor)
        _hide_cookies(handler.request, self._cookie_names)
        vars(handler.request)[VISITOR] = visitor
        self._prepare_application(handler)
        return visitor.user_id

    def _check_store_is_shared(self) -> None:
        if tornado.process.task_id() is not None and isinstance(self.manager.store, MemoryStore):
            raise ConfigurationError(
                "with --num-procs each process has a memory:// store of its own, so a login in one "
                "is unknown in the others: use sqlite:///sessions.db, or a database"
            )

    def _attach(self, handler: WebSocketHandler, session: Session, visitor: "_Visitor") -> None:
        """Let the socket end with the *session*, and the *visitor* of its document follow it."""
        visitor.follow(session)  # perhaps of a later login of the same user
        opened, heard = handler.open, handler.on_message

        def open_watched(*args: str, **kwargs: str) -> Awaitable[None] | None:
            del handler.open  # or the handler would refer to itself
            self._door.watch(handler, session, visitor.follow)
            return None if session.ended else opened(*args, **kwargs)

        def hear(message: str | bytes) -> Awaitable[None] | None:
            visitor.touch()
            return heard(message)

        handler.open = open_watched
        if self._messages_keep_alive:
            handler.on_message = hear  # type: ignore[method-assign]

    def _prepare_application(self, handler: RequestHandler) -> None:
        context = getattr(handler, "application_context", None)
        if isinstance(context, ApplicationContext):
            application = context.application
            if not any(isinstance(one, _OurHandler) for one in application.handlers):
                application.add(_OurHandler(self))

    def _start(self, step: Coroutine[Any, Any, Session | None]) -> asyncio.Task[Session | None]:
        task = asyncio.get_running_loop().create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a document's session could not be changed: %s", error, exc_info=error)

    async def _close(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)
        if not self._is_closed:
            self._is_closed = True
            await self.manager.aclose()


class _Visitor:
    """The person whose request opened a document, with the newest copy of their session."""

    def __init__(self, sessions: BokehSessions, session: Session) -> None:
        self.sessions = sessions
        self.user_id = session.user_id
        self.loop = asyncio.get_running_loop()
        self._touching: asyncio.Task[Session | None] | None = None
        self.follow(session)

    @property
    def manager(self) -> SessionManager:
        return self.sessions.manager

    def follow(self, session: Session) -> None:
        """Take a newer copy, to look at."""
        self.session = session
        session.refusal = ReadOnly(READ_ONLY)

    def start(self, step: Coroutine[Any, Any, Session | None]) -> Updated:
        """Run *step* on the event loop of the server, from whichever thread this is called."""
        try:
            is_here = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            is_here = False
        if is_here:
            return self.sessions._start(step)

        async def there() -> Session | None:
            return await self.sessions._start(step)

        return asyncio.run_coroutine_threadsafe(there(), self.loop)

    async def update(self, function: Callable[[Session], object]) -> Session | None:
        handle = self.session.handle
        updated = None if handle is None else await self.manager.update(handle, function)
        if updated is not None:
            self.follow(updated)
        return updated

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        async with self.manager.transaction(self.session.handle) as session:
            yield session
        self.follow(session)

    def touch(self) -> None:
        """Count a message as use of the session, as often as `touch_interval` says."""
        session, manager = self.session, self.manager
        if session.record is None or session.ended or self._touching is not None:
            return
        age = manager.now() - session.record.accessed_at
        if age >= session._touch_after(manager.rules):
            self._touching = self.sessions._start(self._touch())

    async def _touch(self) -> Session | None:
        try:
            async with self.transaction() as session:
                return session
        finally:
            self._touching = None


def session_of(document: Document) -> Session:
    """The session of the person who opened a document, to look at: it refuses writes.

    While a browser has the document open, it is at most a second old. After a logout or another end
    it is empty and `ended`.

    Args:
        document: The document, `curdoc()`.

    Returns:
        The session, with its `user_id` and its values.

    Raises:
        SessionNotLoaded: The document was not opened through a `BokehSessions`.

    """
    return _visitor_of(document).session


def update_session(document: Document, function: Callable[[Session], object]) -> Updated:
    """Change the session of the person who opened a document.

    The change is started at once, and merged with those of other tabs and processes. A callback
    that is not async lets it run; an async one awaits it. It may also be called from a thread,
    where `.result()` waits.

    Args:
        document: The document, `curdoc()`.
        function: Called with the newest copy of the session, again and again until the result is
            stored. It must change the session only. It must not be async.

    Returns:
        A future of the session as it is stored, or of None when it has ended. A failure is logged,
        too, so the future need not be kept.

    Raises:
        SessionNotLoaded: The document was not opened through a `BokehSessions`.

    """
    visitor = _visitor_of(document)
    return visitor.start(visitor.update(function))


@asynccontextmanager
async def session_transaction(document: Document) -> AsyncIterator[Session]:
    """Open the session of the person who opened a document, and store what was changed.

    For async callbacks. The session is stored on leaving the block, unless by an exception; changes
    of other tabs and processes are merged. `destroy()` and `logout()` log the person out, and so
    close the document.

    Args:
        document: The document, `curdoc()`.

    Yields:
        The session as it stands in the store. When it has ended it is empty, `ended`, and refuses
        writes.

    Raises:
        SessionNotLoaded: The document was not opened through a `BokehSessions`.
        StoreUnavailable: The store is down.

    """
    async with _visitor_of(document).transaction() as session:
        yield session


def _visitor_of(document: Document) -> _Visitor:
    visitor = getattr(getattr(document.session_context, "request", None), VISITOR, None)
    if not isinstance(visitor, _Visitor):
        raise SessionNotLoaded(
            "this document has no session: start the server with --auth-module and a module that "
            "makes a BokehSessions, and call this with the curdoc() of a page"
        )
    return visitor


class _OurHandler(Handler):
    """Part of each application: shows the login in pages whose session has ended."""

    def __init__(self, sessions: BokehSessions) -> None:
        super().__init__()
        self._sessions, self._loop = sessions, asyncio.get_running_loop()

    def modify_document(self, doc: Document) -> None:
        from bokeh.models import CustomJS  # noqa: PLC0415 - takes long, and the server has it by now

        doc.js_on_event(ConnectionLost, CustomJS(code=GO_TO_LOGIN))

    def on_server_unloaded(self, server_context: Any) -> None:  # noqa: ARG002
        """Store what is under way; the event loop has stopped."""
        if not self._loop.is_running() and not self._loop.is_closed():
            self._loop.run_until_complete(self._sessions._close())


def _names_of(policy: object) -> frozenset[str]:
    """The names that the session cookie may have, over http and over https."""
    if not isinstance(policy, CookiePolicy):
        raise ConfigurationError(
            "BokehSessions needs a SessionManager(cookie=…) that is a CookiePolicy: browsers send "
            "no token in a header when they load a page"
        )
    return frozenset({policy.name, f"__Host-{policy.name}"})


def _owner_of_document(handler: RequestHandler) -> _Visitor | None:
    """The visitor who opened the document that a request asks for, if this process has it."""
    context = getattr(handler, "application_context", None)
    if not isinstance(context, ApplicationContext):
        return None
    try:
        found = context.get_session(_document_id(handler))
    except (ProtocolError, ValueError, KeyError, TypeError):  # not here, or no token: Bokeh's case
        return None
    return _visitor_of(found.document)


def _document_id(handler: RequestHandler) -> ID:
    """What Bokeh calls the session id, by the rules of its `SessionHandler` and `WSHandler`."""
    headers = handler.request.headers
    if isinstance(handler, WebSocketHandler):
        return get_session_id(headers.get("Sec-WebSocket-Protocol", "").split(",")[-1].strip())
    if token := handler.get_argument("bokeh-token", ""):
        return get_session_id(token)
    by_header = headers.get("Bokeh-Session-Id", "")
    return ID(by_header or handler.get_argument("bokeh-session-id", ""))


def _hide_cookies(request: HTTPServerRequest, names: frozenset[str]) -> None:
    """Take our cookie out of a request: Bokeh writes what it finds there into its pages."""
    kept = [
        pair.strip()
        for header in request.headers.get_list("Cookie")
        for pair in header.split(";")
        if pair.partition("=")[0].strip() not in names
    ]
    if kept:
        request.headers["Cookie"] = "; ".join(kept)
    else:
        request.headers.pop("Cookie", None)
    for name in names & request.cookies.keys():  # what was parsed before
        del request.cookies[name]
