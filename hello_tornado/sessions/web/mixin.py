"""Sessions in Tornado's handlers: `self.session`, and what a handler's class says of it."""

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
    """Gives a handler its `session`, which is loaded when its `prepare()` is called.

    The application's settings must hold a `cookie_secret` and a `session_manager`.

    When the store is down, a request is answered with 503. What a handler's class says:

    - `session_required = False`: the page can do without. While the store is down its session is
      empty, and a write to it is a 503 all the same.
    - `session_read_only = True`: writes are refused.
    - `session_exclusive = True`, or the names of methods such as `{"POST"}`: requests of a session
      run one after the other, in all processes, for what must not be done twice and cannot be said
      in operations, such as a payment. A request waits for at most `session_wait` and is then a
      503; after `session_lease` the next one is let in, though this one is not done. Other handlers
      go on beside it. A visitor without a session has nothing that could be shared.
    - `session_touch = False`: the request does not count as use, so that nobody stays logged in by
      leaving open a page that asks again and again.
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
        """Check the options that a handler's class sets, misspelt ones included."""
        super().__init_subclass__(**kwargs)
        options.check_attributes(cls)

    async def _load_session(self) -> None:
        """Load the session that the request's cookie names."""
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
            if not isinstance(error, SessionUnreadable):  # of that an event tells, now and then
                logger.error("%s: %s; it goes on without", self._request_summary(), error)  # noqa: TRY400
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
        """This visitor's session; a new, empty one for who has none. `del` follows `unset`."""
        opened = self._request_session or self._loaded()
        if opened.use == "dropped":
            raise SessionEnded("this request has dropped its session")
        opened.use = "used"
        return opened.session

    @session.setter
    def session(self, value: Session | None) -> None:
        if value is None:
            del self.session
        elif value is not self._loaded().session:  # it is after `self.session |= {…}`
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
        """The manager in the application's settings."""
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
        """Of whom `current_user` is true: grows with each login and logout."""
        opened = self._request_session
        return 0 if opened is None else opened.session.generation

    @property
    def current_user(self) -> Any:
        """Tornado's `current_user`; asked for anew after a login, a logout or a `reset()`."""
        generation = self._generation
        if self._known_user is None or self._known_user[0] != generation:
            self._known_user = (generation, self.get_current_user())
        return self._known_user[1]

    @current_user.setter
    def current_user(self, value: Any) -> None:
        self._known_user = (self._generation, value)

    def get_current_user(self) -> str | None:
        """The session's `user_id`, so that `current_user` and `@authenticated` work."""
        opened = self._request_session
        if opened is None and self.get_status() >= 400:
            return None  # the page of an error that came before prepare()
        if opened is not None and opened.use == "dropped":
            return None
        return self.session.user_id

    def get_session_device(self) -> Device | None:
        """Called at a login: what the person's list of devices will say. None: nothing."""
        return self._unopened().device

    async def save_session(self) -> str | None:
        """Store the session now; what is changed afterwards is stored at the end, as usual.

        Returns its handle, for `session_manager.transaction(handle)` in a background job; None
        when there is nothing to store. When the waiting is cancelled, by a timeout say, the session
        is stored all the same.
        """
        session = self.session
        # Who is cancelled finds what could not be stored in the session, for its end.
        await self._defer(self._commit_explicitly, fail=lambda _error: None)
        return None if session.ended else session.handle

    async def update_session(self, function: Callable[[Session], object]) -> None:
        """Apply a *function* to the newest copy of the session; `session` is then what was stored.

        For what no operation expresses, such as "take one if any is left". What this request has
        changed before is stored first. The function is called again on the newest copy until the
        result is stored, so it must do nothing else; what it returns is ignored. `destroy()` ends
        the session; `login()`, `renew()` and `reset()` in it raise `NoResponse`.
        """
        self.session._check_writable()
        step = partial(self._update_now, function)
        await self._defer(step, fail=lambda _error: None)

    async def reload_session(self) -> None:
        """Forget what this request has changed, and read the session from the store again.

        `session` stays the same object. When the session has ended, it is empty and refuses writes.
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
        """What the request carries; read once, before the session is opened if there is a token."""
        if self._not_yet_opened is None:
            manager, settings = self.session_manager, self.application.settings
            if "session_cookie" in settings:
                raise ConfigurationError(
                    "session_cookie is no setting of an application: write SessionManager(cookie=…)"
                )
            self._not_yet_opened = RequestSession(manager, Keyring.of(settings), self.request)
        return self._not_yet_opened


class SessionHandler(SessionMixin, RequestHandler):
    """A handler with a session; `SessionMixin` gives one to handlers with a base of their own."""
