"""Sessions in Tornado's handlers: `self.session` and the session options of handler classes."""

import logging
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

from tornado.web import RequestHandler

from hello_tornado.sessions import options
from hello_tornado.sessions.carriers.carrier import NOTHING_PRESENTED
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.errors import (
    ConfigurationError,
    ReadOnly,
    SessionEnded,
    SessionNotLoaded,
    SessionUnreadable,
    StoreUnavailable,
)
from hello_tornado.sessions.events import RequestForbidden
from hello_tornado.sessions.manager.manager import SessionManager
from hello_tornado.sessions.records.ids import SessionId
from hello_tornado.sessions.session.device import Device
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.web.binding import LOADED, CommittingHandler
from hello_tornado.sessions.web.request_session import (
    RequestSession,
    open_presented,
)

logger = logging.getLogger("hello_tornado.sessions")


class SessionMixin(CommittingHandler):
    """Adds a `session` to a handler. It is loaded before `prepare()` is called.

    The application needs the settings `cookie_secret` and `session_manager`. While the store is
    down, requests get a 503. Options are attributes of the handler class:

    - `session_required`: if False, the page also works while the store is down. Its session is
      empty then, and writing to it is a 503 (True).
    - `session_read_only`: writing raises `ReadOnly` (False).
    - `session_exclusive`: True, or the names of methods such as `{"POST"}`: requests of the same
      session run one after the other, in all processes. Use it for actions that must not be done
      twice, such as a payment. Other handlers, and visitors without a session, do not wait (False).
    - `session_wait`: how long an exclusive request waits before it gets a 503 (10 seconds).
    - `session_lease`: how long an exclusive request may take. After that the next one starts, even
      if this one is still running (30 seconds).
    - `session_touch`: if False, requests do not count as use of the session. Use it for pages that
      poll, so that an open page does not keep a user logged in (True).

    `session_wait` and `session_lease` are timedeltas or numbers of seconds. An invalid option
    raises `ConfigurationError` when the class is created.
    """

    session_required = True
    session_read_only = False
    session_touch = True
    session_exclusive: bool | Collection[str] = False
    session_wait = timedelta(seconds=10)
    session_lease = timedelta(seconds=30)

    _attribute_checks: ClassVar[Mapping[str, options.Check]] = {
        "session_required": options.flag,
        "session_read_only": options.flag,
        "session_touch": options.flag,
        "session_exclusive": options.flag_or_some_of(RequestHandler.SUPPORTED_METHODS),
        "session_wait": options.duration(least=timedelta(0)),
        "session_lease": options.duration(),
    }

    _manager: SessionManager | None = None
    _not_yet_opened: RequestSession | None = None
    _known_user: tuple[int, Any] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the options of a handler class, and report misspelt ones."""
        super().__init_subclass__(**kwargs)
        options.check_attributes(cls)

    async def _load_session(self) -> None:
        """Load the session of the request's cookie."""
        opened = self._unopened()
        manager, presented = opened.manager, opened.presented
        try:
            if presented is NOTHING_PRESENTED:
                opened.session, opened.signed = await manager.open(None), None
            else:
                with opened.wait:
                    opened.session, opened.signed = await open_presented(manager, presented)
                    if self.session_exclusive:
                        await self._lease(opened)
        except StoreUnavailable as error:
            if self.session_required:
                raise
            if not isinstance(error, SessionUnreadable):  # for that, an event is logged
                logger.error("%s: %s; its session is empty", self._request_summary(), error)  # noqa: TRY400
            opened.session, opened.signed = await manager.open(None), None
            opened.session.refusal = error
        else:
            opened.session.keeps_alive = self.session_touch
            if self.session_read_only:
                opened.session.refusal = ReadOnly(f"{type(self).__name__}.session_read_only is set")
        self._request_session = opened
        self._phase = LOADED[self._phase]

    async def _lease(self, opened: RequestSession) -> None:
        chosen = self.session_exclusive
        is_chosen = chosen if isinstance(chosen, bool) else self.request.method in chosen
        if is_chosen:
            await opened.take_lease(wait=self.session_wait, lasts=self.session_lease)

    @property
    def session(self) -> Session:
        """The visitor's session; for visitors without one, a new, empty session.

        `del self.session` (or setting it to None) does what the manager's option `unset` says. With
        "keep", the changes of this request are discarded. Afterwards, reading the property raises
        `SessionEnded`. Raises `SessionNotLoaded` before `prepare()`.
        """
        opened = self._request_session or self._loaded()
        if opened.use == "dropped":
            raise SessionEnded("this request has dropped its session")
        opened.use = "used"
        return opened.session

    @session.setter
    def session(self, value: Session | None) -> None:
        if value is None:
            del self.session
        elif value is not self._loaded().session:  # `self.session |= {…}` sets the same object
            raise TypeError("handler.session can only be set to None; change the session instead")

    @session.deleter
    def session(self) -> None:
        if self.session_manager.unset == "destroy":
            self.session.destroy()
        else:
            self._loaded().use = "dropped"

    def _loaded(self) -> RequestSession:
        if self._request_session is None:
            raise SessionNotLoaded(
                f"{type(self).__name__}.session is loaded after initialize(), before prepare()"
            )
        return self._request_session

    @property
    def session_manager(self) -> SessionManager:
        """The `SessionManager` in the application's settings."""
        if self._manager is None:
            manager = self.application.settings.get("session_manager")
            if not isinstance(manager, SessionManager):
                raise ConfigurationError(
                    "the application needs the setting session_manager: "
                    'Application(…, session_manager=SessionManager(open_store("sqlite:///…")))'
                )
            self._manager = manager
        return self._manager

    @property
    def _generation(self) -> int:
        """A number that grows with each login and logout; `current_user` is cached for it."""
        opened = self._request_session
        return 0 if opened is None else opened.session.generation

    @property
    def current_user(self) -> Any:
        """Tornado's `current_user`, computed again after a login, a logout or a `reset()`."""
        generation = self._generation
        if self._known_user is None or self._known_user[0] != generation:
            self._known_user = (generation, self.get_current_user())
        return self._known_user[1]

    @current_user.setter
    def current_user(self, value: Any) -> None:
        self._known_user = (self._generation, value)

    def get_current_user(self) -> str | None:
        """Return the session's `user_id`, so that `current_user` and `@authenticated` work."""
        opened = self._request_session
        if opened is None and self.get_status() >= 400:
            return None  # the page of an error before prepare()
        if opened is not None and opened.use == "dropped":
            return None
        return self.session.user_id

    def get_session_device(self) -> Device | None:
        """Return the device to store at a login, as `session.device`; override it to change that.

        By default, that is the User-Agent header and the client's address. None stores no device.
        """
        return self._unopened().device

    async def save_session(self) -> str | None:
        """Store the session now. Later changes are stored at the end of the request, as usual.

        Returns the handle, for `session_manager.transaction(handle)` in a background task; None if
        the session is new and empty or has ended. If the caller is cancelled, for example by a
        timeout, the session is stored nevertheless. Raises `StoreUnavailable` if the store fails.
        """
        session = self.session
        # If the caller was cancelled and this fails, the changes stay in the session and are stored
        # at the end of the request.
        await self._defer(self._commit_explicitly, fail=lambda _error: None)
        return None if session.ended else session.handle

    async def update_session(self, function: Callable[[Session], object]) -> None:
        """Change the session by a function, for changes such as "take one if any is left".

        Earlier changes of this request are stored first. Afterwards `session` is the stored state.

        Args:
            function: Gets the newest copy of the session. It is called again until its changes are
                stored, so it must have no side effects. Its result is ignored. In it, `destroy()`
                ends the session; `login()`, `renew()` and `reset()` raise `NoResponse`.

        Raises:
            TypeError: The function is async.

        """
        self.session._check_writable()
        step = partial(self._update_now, function)
        await self._defer(step, fail=lambda _error: None)

    async def reload_session(self) -> None:
        """Discard the changes of this request and read the session from the store again.

        `session` stays the same object. If the session has ended, it is empty, and writing to it
        raises `SessionEnded`.
        """
        session = self.session
        if not session.ended:
            session.become(await self.session_manager.reload(session))

    def _forbidden(self, reason: str) -> None:
        self.session_manager.emit(RequestForbidden(reason))

    def _presented_ids(self) -> list[SessionId]:
        return [signed.session_id for signed in self._unopened().presented.signed]

    def _is_remembered(self, token: bytes) -> bool:
        return (
            self._request_session is not None
            and self._request_session.session._remembers_xsrf_token(token)
        )

    def _may_set_xsrf_cookie(self) -> bool:
        return self._request_session is None or self._request_session.session.tombstone is None

    def _living_id(self) -> SessionId | None:
        return None if self._request_session is None else self._request_session.living_id

    def _id_after_response(self, *, is_needed: bool) -> SessionId | None:
        if self._request_session is None:
            presented = self._presented_ids()
            return presented[0] if len(presented) == 1 else None
        return self._request_session.id_after_response(
            is_needed=is_needed, is_failing=self._is_failing()
        )

    def _unopened(self) -> RequestSession:
        """Return the request's session before it is opened; it may be needed for an XSRF token."""
        if self._not_yet_opened is None:
            manager, settings = self.session_manager, self.application.settings
            if "session_cookie" in settings:
                raise ConfigurationError(
                    "there is no application setting session_cookie: write SessionManager(cookie=…)"
                )
            self._not_yet_opened = RequestSession(manager, Keyring.of(settings), self.request)
        return self._not_yet_opened


class SessionHandler(SessionMixin, RequestHandler):
    """A request handler with a session. Use `SessionMixin` for handlers with another base class."""
