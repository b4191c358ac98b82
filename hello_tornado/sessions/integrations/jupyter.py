"""Sessions in jupyter-server and Voilà: a login, and a logout that closes the open kernel sockets.

`SessionIdentityProvider` takes the place of jupyter-server's `PasswordIdentityProvider`.
"""

import asyncio
import hmac
import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

import traitlets
from jupyter_server.auth.identity import PasswordIdentityProvider, User
from jupyter_server.auth.login import LoginFormHandler
from jupyter_server.base.handlers import APIHandler
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

from hello_tornado.sessions.carriers.cookies import CookiePolicy
from hello_tornado.sessions.errors import ConfigurationError, SessionTooLarge, StoreUnavailable
from hello_tornado.sessions.events import EndedReason
from hello_tornado.sessions.integrations.jupyter_pages import LoginHandler, LogoutHandler
from hello_tornado.sessions.manager.manager import SessionManager
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.web.door import SessionDoor

T = TypeVar("T")

__all__ = ["LoginHandler", "LogoutHandler", "SessionIdentityProvider"]

# The user id of all sessions when people log in with the server's one password or token.
SHARED_USER_ID: Final = "jupyter"
# The key in a session under which the user's name, initials and color are stored.
IDENTITY: Final = "jupyter_user"
# The attribute of a handler under which the session of its request is kept.
SESSION: Final = "_hello_tornado_session"
SESSIONS: Final = (
    "the URL of a store or a function that returns a SessionManager, for example "
    'c.SessionIdentityProvider.sessions = "sqlite:////var/lib/jupyter/sessions.db"'
)
# Traits of jupyter's own cookie that are refused.
WITHOUT_EFFECT: Final = ("cookie_options", "get_secure_cookie_kwargs")


class SessionIdentityProvider(PasswordIdentityProvider):
    """Identify the users of jupyter-server by server-side sessions.

    Set it in `jupyter_server_config.py` with `c.ServerApp.identity_provider_class`, and its traits
    with `c.SessionIdentityProvider`. A setting that cannot work is a `TraitError`, with which the
    server does not start.

    People log in with the name and password that `may_log_in` accepts. Without `may_log_in` they
    use the server's password (`hashed_password`) or token, and all sessions are those of one user,
    with the user id "jupyter".

    `cookie_name` and `secure_cookie` are those of the base class and apply when `sessions` is a
    URL. `cookie_options` and `get_secure_cookie_kwargs` are refused: give a `CookiePolicy` to the
    `SessionManager`.

    Attributes:
        manager: The `SessionManager`, to revoke sessions or to listen to events.

    """

    sessions: Any = traitlets.Union(
        [traitlets.Unicode(), traitlets.Callable()],
        default_value="",
        config=True,
        help=f"Where the sessions are. {SESSIONS[0].upper()}{SESSIONS[1:]}",
    )
    cookie_secret: Any = traitlets.Any(
        None,
        config=True,
        help="What signs the session cookie: a str or bytes of at least 16 bytes, or several of "
        "them to change it, as SessionDoor takes them. Default: the cookie_secret of the server.",
    )
    may_log_in: Any = traitlets.Callable(
        None,
        allow_none=True,
        config=True,
        help="A function of a name and a password that returns the user id, or None for a wrong "
        "name or password. It may be async. Default: the password or token of the server.",
    )
    accept_tokens = traitlets.Bool(
        False,
        config=True,
        help="Whether a request with the server's token needs no session, as in jupyter-server. "
        "Such requests go on to work after a logout. False: the token only logs in.",
    )
    messages_keep_alive = traitlets.Bool(
        True,
        config=True,
        help="Whether messages that a person sends through a WebSocket count as use of the "
        "session, so that its idle timeout begins anew. False: only HTTP requests count.",
    )

    manager: SessionManager

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in WITHOUT_EFFECT:
            if getattr(self, name):
                raise traitlets.TraitError(
                    f"{name} does not apply to sessions: let c.SessionIdentityProvider.sessions be "
                    "a function that returns SessionManager(url, cookie=CookiePolicy(…))"
                )
        if not self.auth_enabled:
            raise traitlets.TraitError(
                "nobody could log in: set c.SessionIdentityProvider.may_log_in, hashed_password or "
                "token"
            )
        self.manager = self._make_manager()
        self._door: SessionDoor | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def door(self) -> SessionDoor:
        """Opens and saves the session of a request, for handlers of your own.

        Raises:
            TraitError: The cookie secret cannot work.

        """
        if self._door is None:
            secret = self.cookie_secret
            if secret is None:
                secret = getattr(self.parent, "cookie_secret", None)
            try:
                self._door = SessionDoor(self.manager, cookie_secret=cast("str", secret))
            except ConfigurationError as error:
                raise traitlets.TraitError(str(error)) from error
        return self._door

    @property
    def auth_enabled(self) -> bool:
        """Whether people can log in. Without that the server does not start."""
        return self.may_log_in is not None or super().auth_enabled

    def get_handlers(self) -> list[tuple[str, object]]:
        """Return the routes of the login and the logout page.

        A handler of yours, as `login_handler_class` or `logout_handler_class`, takes their place.
        A subclass of jupyter's own `LoginFormHandler` does not: it would set jupyter's cookie.
        """
        login = cast("type[RequestHandler]", self.login_handler_class)
        if issubclass(login, LoginFormHandler) and not issubclass(login, LoginHandler):
            login = LoginHandler
        return [(r"/login", login), (r"/logout", self.logout_handler_class)]

    def validate_security(self, app: Any, ssl_options: dict[str, Any] | None = None) -> None:
        """Check the settings when the server starts, the cookie secret included.

        Args:
            app: The server.
            ssl_options: What it has for TLS, or None.

        Raises:
            TraitError: The cookie secret cannot work.

        """
        super().validate_security(app, ssl_options)
        self._door = self.door  # a mistake in the secret is told before the first request

    async def get_user(self, handler: RequestHandler) -> User | None:
        """Return the user of the session that a request asks for.

        Counts as use of the session. A WebSocket is closed within a second after its session ends.

        Args:
            handler: The handler of the request.

        Returns:
            The user, or None for a request without a living session.

        Raises:
            HTTPError: 503 while the store is down.

        """
        known = getattr(handler, "_jupyter_current_user", None)
        if known is not None:
            return cast("User", known)
        session = await self._open(handler)
        if session.user_id is None and self._is_login_link(handler):
            return await self._log_in_shared(handler)
        if session.user_id is not None:
            await self._save(handler, session)
            if isinstance(handler, WebSocketHandler) and not session.ended:
                self._attach(handler, session)
        if self.accept_tokens and (user := await self.get_user_token(handler)) is not None:
            handler._token_authenticated = True  # type: ignore[attr-defined]
            return user
        return _user_of(session)

    async def get_user_cookie(self, handler: RequestHandler) -> User | None:
        """Return the user of the session, whatever token the request has.

        Args:
            handler: The handler of the request.

        Raises:
            HTTPError: 503 while the store is down.

        """
        return _user_of(await self._open(handler))

    async def log_in_by_form(self, handler: RequestHandler) -> bool:
        """Log in the person who has sent a form with their name and password, or password alone.

        Args:
            handler: The handler that got the form, with the fields `username` and `password`.

        Returns:
            Whether name and password are right.

        Raises:
            HTTPError: 503 while the store is down.

        """
        if self.may_log_in is None:
            user = self.process_login_form(handler)
            if user is not None:
                await self._log_in_shared(handler, user)
            return user is not None
        name = handler.get_body_argument("username", "")
        user_id = self.may_log_in(name, handler.get_body_argument("password", "", strip=False))
        if inspect.isawaitable(user_id):
            user_id = await user_id
        if user_id is not None:
            await self.log_in(handler, user_id)
        return user_id is not None

    async def log_in(
        self, handler: RequestHandler, user_id: str, identity: User | None = None
    ) -> User:
        """Log a person in, under a new session id. For login handlers of your own.

        The response of *handler* must not have begun.

        Args:
            handler: The handler of the request.
            user_id: Whose session it is from now on. `manager.revoke_user(user_id)` ends all.
            identity: What other people see of the user, kept in the session. By default the user id
                is the name.

        Returns:
            The user as the request has it now.

        Raises:
            HTTPError: 503 while the store is down.

        """
        session = await self._open(handler)
        session.login(user_id)
        if identity is not None:
            session[IDENTITY] = asdict(identity)
        await self._save(handler, session)
        user = _user_of(session)
        assert user is not None  # noqa: S101 - it has just logged in
        handler.current_user = handler._jupyter_current_user = user  # type: ignore[attr-defined]
        return user

    async def ended_reason(self, handler: RequestHandler) -> EndedReason | None:
        """Return why the last session of a browser has ended, or None where nobody knows.

        Args:
            handler: The handler of the request.

        Raises:
            HTTPError: 503 while the store is down.

        """
        return (await self._open(handler)).ended_reason

    async def log_out(self, handler: RequestHandler, *, everywhere: bool = False) -> None:
        """End the session of a request, and close its sockets. For logout handlers of your own.

        Args:
            handler: The handler of the request. Its response must not have begun.
            everywhere: Whether to end all other sessions of the user, too.

        Raises:
            HTTPError: 503 while the store is down.

        """
        session = await self._open(handler)
        session.logout(everywhere=everywhere)
        await self._save(handler, session)

    def persist_user_model(self, handler: RequestHandler) -> None:
        """Keep a changed name or color in the session: PATCH /api/me.

        The session is stored before the response leaves.

        Args:
            handler: The handler of the request.

        Raises:
            NotImplementedError: The request has a token and no session. Jupyter answers with 501.

        """
        session = cast("Session", vars(handler)[SESSION])
        if session.user_id is None:
            raise NotImplementedError("a request with a token alone has no session to store it in")
        session[IDENTITY] = asdict(handler.current_user)
        finish = handler.finish

        def save_then_finish(chunk: Any = None) -> asyncio.Task[None]:
            del handler.finish  # or the handler would refer to itself
            return self._start(self._save_then(handler, session, lambda: finish(chunk)))

        handler.finish = save_then_finish  # type: ignore[method-assign]

    def set_login_cookie(self, handler: RequestHandler, user: User) -> None:
        """Raise an error: the cookie does not contain the user.

        Raises:
            NotImplementedError: Always.

        """
        raise NotImplementedError("use `await identity_provider.log_in(handler, user_id)`")

    def clear_login_cookie(self, handler: RequestHandler) -> None:
        """Raise an error: a logout ends the session in the store.

        Raises:
            NotImplementedError: Always.

        """
        raise NotImplementedError("use `await identity_provider.log_out(handler)`")

    @traitlets.default("login_handler_class")
    def _default_login_handler_class(self) -> type[RequestHandler]:
        return LoginHandler

    @traitlets.default("logout_handler_class")
    def _default_logout_handler_class(self) -> type[RequestHandler]:
        return LogoutHandler

    @traitlets.default("need_token")
    def _need_token_default(self) -> bool:
        return self.may_log_in is None and not self.hashed_password

    @traitlets.default("allow_password_change")
    def _default_allow_password_change(self) -> bool:
        return False  # `jupyter server password` does that

    @traitlets.default("updatable_fields")
    def _default_updatable_fields(self) -> list[str]:
        shared = ["name", "display_name", "initials", "avatar_url", "color"]
        return shared if self.may_log_in is None else ["color"]  # nobody takes another's name

    def _make_manager(self) -> SessionManager:
        given = self.sessions
        if not given:
            raise traitlets.TraitError(f"c.SessionIdentityProvider.sessions is missing: {SESSIONS}")
        try:
            made = SessionManager(given, cookie=self._cookie) if isinstance(given, str) else given()
        except ConfigurationError as error:
            raise traitlets.TraitError(str(error)) from error
        if not isinstance(made, SessionManager):
            raise traitlets.TraitError(f"sessions must be {SESSIONS}; it returned {made!r}")
        return made

    def _cookie(self, request: HTTPServerRequest) -> CookiePolicy:
        """The cookie of a server with its own host, port and path, as jupyter-server has it."""
        name = self.cookie_name or re.sub("[^A-Za-z0-9]", "-", f"session-{request.host}")
        secure = self.secure_cookie
        return _policy(str(name)[:100], str(getattr(self.parent, "base_url", "/")), secure)

    def _is_login_link(self, handler: RequestHandler) -> bool:
        """Whether somebody opens a page by an address with the token, as the server prints it."""
        if self.may_log_in is not None or not self.token or handler.request.method != "GET":
            return False
        if isinstance(handler, APIHandler | WebSocketHandler):
            return False
        if "text/html" not in handler.request.headers.get("Accept", ""):  # not a browser's visit
            return False
        given = handler.get_query_argument("token", "")
        return hmac.compare_digest(given.encode(), str(self.token).encode())

    async def _log_in_shared(self, handler: RequestHandler, user: User | None = None) -> User:
        """Log in a person with the shared password or token, under the name they had before."""
        session = await self._open(handler)
        before = _user_of(session) if session.user_id == SHARED_USER_ID else None
        identity = before or user or self.generate_anonymous_user(handler)
        return await self.log_in(handler, SHARED_USER_ID, identity)

    async def _open(self, handler: RequestHandler) -> Session:
        session = await self._reach(handler, self.door.open(handler))
        vars(handler)[SESSION] = session
        return session

    async def _save(self, handler: RequestHandler, session: Session) -> None:
        await self._reach(handler, self.door.save(handler, session))

    async def _reach(self, handler: RequestHandler, step: Awaitable[T]) -> T:
        """What a *step* returns that needs the store; 503 while it is down."""
        try:
            return await step
        except StoreUnavailable as error:
            self.log.error("the session store is down: %s", error)  # noqa: TRY400 - in one line
            if not hasattr(handler, "_jupyter_current_user"):  # the page of the error asks for it
                handler.current_user = handler._jupyter_current_user = None  # type: ignore[attr-defined]
            raise HTTPError(503, "The session store is not available.") from error

    async def _save_then(
        self, handler: RequestHandler, session: Session, finish: Callable[[], object]
    ) -> None:
        try:
            await self._save(handler, session)
        except HTTPError as error:
            handler.send_error(error.status_code, exc_info=sys.exc_info())
        except SessionTooLarge:
            handler.send_error(413)
        except Exception:
            self.log.exception("the session could not be stored")
            handler.send_error(500)
        else:
            finish()

    def _attach(self, handler: WebSocketHandler, session: Session) -> None:
        """Let a socket end with its *session*, and its messages count as use of it."""
        opened, heard = handler.open, handler.on_message
        note_use = self._keep_alive(session)

        def open_watched(*args: str, **kwargs: str) -> Awaitable[None] | None:
            del handler.open  # or the handler would refer to itself
            self.door.watch(handler, session)
            return opened(*args, **kwargs)

        def hear(message: str | bytes) -> Awaitable[None] | None:
            note_use()
            return heard(message)

        handler.open = open_watched
        if self.messages_keep_alive:
            handler.on_message = hear  # type: ignore[method-assign]

    def _keep_alive(self, session: Session) -> Callable[[], None]:
        """A function that counts as use of the *session*, once in its touch interval."""
        manager = self.manager
        interval = session._touch_after(manager.rules)
        due = manager.now() + interval

        def note_use() -> None:
            nonlocal due
            now = manager.now()
            if now >= due and not session.ended:
                due = now + interval
                self._start(self._touch(session.handle))

        return note_use

    async def _touch(self, handle: str | None) -> None:
        try:
            async with self.manager.transaction(handle):
                pass
        except StoreUnavailable as error:
            self.log.warning("a message could not be counted as use of its session: %s", error)

    def _start(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _user_of(session: Session) -> User | None:
    if session.user_id is None:
        return None
    identity = session.get(IDENTITY, {})
    known = {name: identity[name] for name in User.__dataclass_fields__ if name in identity}
    return User(**{"username": session.user_id} | known)


@lru_cache(maxsize=64)
def _policy(name: str, path: str, secure: bool | None) -> CookiePolicy:
    return CookiePolicy(name=name, path=path, secure="auto" if secure is None else secure)
