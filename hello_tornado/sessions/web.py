"""Sessions in Tornado's handlers: loaded before the method, stored before the first byte leaves.

Tornado's `finish()` is synchronous, and a store is not. So when there is something to store,
`finish()` only notes that the response is complete and returns an awaitable; whoever awaits it, at
the latest `_execute()`, first commits the session and then lets Tornado send. When there is nothing
to store, `finish()` is Tornado's own. Two private names carry this: `RequestHandler._execute` and
`_finished`; tests/sessions/test_web.py holds every handler style against each Tornado release.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, cast

from tornado.web import OutputTransform

from hello_tornado.sessions import options
from hello_tornado.sessions.actions import Clear, CookieAction, Issue, Keep
from hello_tornado.sessions.cookies import CookiePolicy
from hello_tornado.sessions.cross_site import CrossSiteMixin
from hello_tornado.sessions.deferred import Deferred
from hello_tornado.sessions.devices import Device
from hello_tornado.sessions.errors import (
    ConfigurationError,
    ReadOnly,
    SessionBusy,
    SessionEnded,
    SessionNotLoaded,
    StoreUnavailable,
)
from hello_tornado.sessions.events import CookieRejected, RequestForbidden, SessionNotBegun
from hello_tornado.sessions.ids import SessionId
from hello_tornado.sessions.keyring import Keyring, SignedId
from hello_tornado.sessions.lifetimes import MICROSECOND
from hello_tornado.sessions.manager import SessionManager
from hello_tornado.sessions.session import Session
from hello_tornado.sessions.transport import Reading, transport_of

logger = logging.getLogger("hello_tornado.sessions")

DEFAULT_POLICY: Final = CookiePolicy()
UNAVAILABLE: Final = (SessionBusy, StoreUnavailable)
RETRY_AFTER_SECONDS: Final = 5
# A cookie that ends with the browser is signed anew this often, lest its signature grow too old.
RESIGN_AFTER: Final = timedelta(days=1) // MICROSECOND


class SessionMixin(CrossSiteMixin):
    """Gives a handler its `session`. A `prepare()` of your own must `await super().prepare()`.

    The application's settings must hold a `cookie_secret` and a `session_manager`, and may hold a
    `session_cookie`: a `CookiePolicy`, a `TokenPolicy`, or a function from the request to one.

    When the store is down, a request that needs it is answered with 503. A page that can do
    without says `on_store_error = "anonymous"` in its class: its session is then empty, and a
    write to it is a 503 all the same. A handler with `session_read_only` refuses writes; one that
    asks by itself again and again, as a page that polls does, says `keeps_session_alive = False`,
    so that nobody stays logged in by leaving it open.
    """

    on_store_error: Literal["error", "anonymous"] = "error"
    session_read_only = False
    keeps_session_alive = True

    _attribute_checks: ClassVar[Mapping[str, options.Check]] = {
        "on_store_error": options.one_of("error", "anonymous"),
        "session_read_only": options.flag,
        "keeps_session_alive": options.flag,
    }

    _session: Session | None = None
    _reading: Reading | None = None
    _signed: SignedId | None = None
    _cookie_action: CookieAction = Keep()
    _deferred: "Deferred | None" = None
    _is_session_read = False
    _is_session_dropped = False
    _is_committed = False
    _is_sending = False
    _is_unavailable = False
    _is_executed = False
    _is_told_not_begun = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the options that a handler's class sets, misspelt ones included."""
        super().__init_subclass__(**kwargs)
        options.check_attributes(cls)

    async def prepare(self) -> None:
        """Load the session that the request's cookie names."""
        try:
            self._session = await self._open_session()
            self._session.keeps_alive = self.keeps_session_alive
            if self.session_read_only:
                self._session.refusal = ReadOnly(f"{type(self).__name__}.session_read_only is set")
        except StoreUnavailable as error:
            if self.on_store_error != "anonymous":
                raise
            logger.error("%s: %s; it goes on without", self._request_summary(), error)  # noqa: TRY400
            self._session = await self.session_manager.open(None)
            self._session.refusal = error
        prepared = super().prepare()
        if prepared is not None:
            await prepared

    @property
    def session(self) -> Session:
        """This visitor's session; a new, empty one for who has none. `del` follows `unset`."""
        if self._session is None:
            name = type(self).__name__
            raise SessionNotLoaded(
                f"{name}.session was never loaded: {name}.prepare() must 'await super().prepare()'"
            )
        if self._is_session_dropped:
            raise SessionEnded("this request has dropped its session")
        self._is_session_read = True
        return self._session

    @session.setter
    def session(self, value: None) -> None:
        if value is not None:
            raise TypeError("handler.session can only be set to None; change the session instead")
        del self.session

    @session.deleter
    def session(self) -> None:
        if self.session_manager.unset == "destroy":
            self.session.destroy()
        else:
            self._is_session_dropped = True

    @property
    def session_manager(self) -> SessionManager:
        """The manager in the application's settings."""
        manager = self.application.settings.get("session_manager")
        if not isinstance(manager, SessionManager):
            raise ConfigurationError(
                "the application needs the setting session_manager: "
                'Application(…, session_manager=SessionManager(open_store("sqlite:///…")))'
            )
        return manager

    def get_current_user(self) -> str | None:
        """The session's `user_id`, so that `current_user` and `@authenticated` work."""
        if self._is_session_dropped:
            return None
        if self._session is None and self.get_status() >= 400:
            return None  # the page of an error that came before prepare()
        return self.session.user_id

    def session_device(self) -> Device | None:
        """Called at a login: what the person's list of devices will say. None: nothing."""
        user_agent = self.request.headers.get("User-Agent", "")
        return Device(user_agent, self._transport.address(self.request))

    async def save_session(self) -> None:
        """Store the session now; what is changed afterwards is stored at the end, as ever."""
        if self._must_commit():
            await self._commit_session()

    async def reload_session(self) -> None:
        """Forget what this request has changed, and read the session from the store again."""
        old = self.session
        self._session = await self.session_manager.reload(old)
        self._session.refusal, self._session.keeps_alive = old.refusal, old.keeps_alive

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> "asyncio.Future[None]":
        """Tornado's `finish()`, after the session is stored; may be awaited or not."""
        if self._finished or not self._must_commit():
            return self._send(chunk)
        if chunk is not None:
            self.write(chunk)
        self._finished = True  # for the handler the request is over; Tornado has yet to send
        self._deferred = Deferred(self._commit_then_finish)
        if self._is_executed:
            self._deferred.run_in_background()
        return cast("asyncio.Future[None]", self._deferred)

    def flush(self, include_footers: bool = False) -> "asyncio.Future[None]":
        """Tornado's `flush()`, after the session is stored.

        Unawaited, what is to be flushed leaves with the next flush that is awaited, or at the end.
        """
        if not self._headers_written:
            if self._must_commit():
                return cast("asyncio.Future[None]", Deferred(self._commit_then_flush))
            self._write_session_headers()
            if self._is_unavailable:
                self.set_header("Retry-After", RETRY_AFTER_SECONDS)
        return super().flush(include_footers)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Tornado's `send_error()`; a store that does not answer, or a busy session, is a 503."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, UNAVAILABLE):
            self._is_unavailable = True
            status_code = 503
        super().send_error(status_code, **kwargs)

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Tornado's `log_exception()`; what is a 503 is one line, without a traceback."""
        if isinstance(value, UNAVAILABLE):
            logger.error("%s: %s", self._request_summary(), value)
        else:
            super().log_exception(typ, value, tb)

    async def _execute(
        self, transforms: list[OutputTransform], *args: bytes, **kwargs: bytes
    ) -> None:
        try:
            await super()._execute(transforms, *args, **kwargs)
        finally:
            self._is_executed = True
            if self._deferred is not None:
                await self._deferred.run()

    def _send(self, chunk: str | bytes | dict[str, Any] | None) -> "asyncio.Future[None]":
        self._is_sending = True
        return super().finish(chunk)

    def _forbidden(self, reason: str) -> None:
        self.session_manager.emit(RequestForbidden(reason))

    def _session_ids(self) -> list[SessionId]:
        if self._session is None:
            return [signed.session_id for signed in self._read().signed]
        return [] if self._session_id is None else [self._session_id]

    @property
    def _session_id(self) -> SessionId | None:
        """The id that the browser has, or will have with this response."""
        if isinstance(self._cookie_action, Issue):
            return self._cookie_action.session_id
        return self._signed.session_id if self._signed else None

    def _read(self) -> Reading:
        """The ids that the request carries; read once, before `prepare()` if there is a token."""
        if self._reading is None:
            settings = self.application.settings
            setting = settings.get("session_cookie", DEFAULT_POLICY)
            self._transport = transport_of(setting, self.request)
            self._keyring = Keyring.of(settings)
            now = self.session_manager.now()
            self._reading = self._transport.read(self.request, self._keyring, now)
        return self._reading

    async def _open_session(self) -> Session:
        manager, reading = self.session_manager, self._read()
        if reading.rejected is not None:
            manager.emit(CookieRejected(reading.rejected))
        opened = [(signed, await manager.open(signed.session_id)) for signed in reading.signed]
        living = [(signed, session) for signed, session in opened if not session.is_new]
        if len(living) == 1:
            ((self._signed, session),) = living
            return session
        if living:
            manager.emit(CookieRejected("ambiguous"))
        elif opened:
            return opened[0][1]  # a new one, that knows why the old one is over
        return await manager.open(None)

    def _must_commit(self) -> bool:
        session = self._session
        if session is None or self._is_session_dropped or self._is_sending:
            return False
        if self.get_status() >= 500:
            return False
        if self._is_committed:
            needs = session.modified and not session.ended
        else:
            needs = self.session_manager.needs_store(session) or self._is_resign_due(session)
        return needs and (not session.is_new or self._can_begin(session))

    def _can_begin(self, session: Session) -> bool:
        if session.refusal is not None:
            return False
        reason = self._transport.refuses(self.request)
        if reason is not None and session.modified and not self._is_told_not_begun:
            self._is_told_not_begun = True
            self.session_manager.emit(SessionNotBegun(reason))
        return reason is None

    async def _commit_session(self) -> None:
        assert self._session is not None  # noqa: S101 - _must_commit() has seen it
        if self._session.refusal is not None and self._session.modified:
            raise self._session.refusal  # something was changed inside of a value
        if self._session.logs_in and (device := self.session_device()) is not None:
            self._session._note_device(device)
        is_resign_due = not self._is_committed and self._is_resign_due(self._session)
        action = await self.session_manager.commit(self._session, self.request)
        self._is_committed = True
        if not isinstance(action, Keep):
            self._cookie_action = action
        elif is_resign_due and await self.session_manager.is_living(self._session):
            assert self._signed is not None  # noqa: S101 - or nothing would be due
            self._cookie_action = Issue(self._signed.session_id)

    def _is_resign_due(self, session: Session) -> bool:
        """Whether a browser with a living session needs its cookie anew, though the id is the same.

        That is: always with `rolling`, else when its lifetime was changed, when another secret
        signs now, or with the age of the signature, so that a browser in use never loses a cookie
        to its `max_age`. Whether the session still lives is asked before the cookie is sent, lest
        it overwrite the newer one of a login that ran beside this request.
        """
        signed, manager = self._signed, self.session_manager
        if signed is None or session.ended:
            return False
        if manager.rolling or session.is_max_age_changed or not self._keyring.is_current(signed):
            return True
        now = manager.now()
        age = now - signed.signed_at
        if not session.keeps_alive or (age < manager.touch_after and age < RESIGN_AFTER):
            return False
        lasts = self._transport.lasts(now, session.max_age)
        return age >= (RESIGN_AFTER if lasts is None else manager.touch_after)

    async def _commit_then_finish(self) -> "asyncio.Future[None] | None":
        try:
            await self._commit_session()
        except Exception as error:  # noqa: BLE001 - it is handled as if the handler had raised it
            self._finished = False
            self._is_sending = True
            self._handle_request_exception(error)
            return None
        self._finished = False
        return self._send(None)

    async def _commit_then_flush(self) -> "asyncio.Future[None]":
        if self._must_commit():
            await self._commit_session()
        return self.flush()

    def _write_session_headers(self) -> None:
        """Everything about the session that the browser, and any cache, must know."""
        session = self._session
        if session is None:
            return
        session.response_started = True
        header = self._session_header(session)
        if header is not None:
            self.add_header(self._transport.response_header, header)
        if header is not None or isinstance(session.refusal, StoreUnavailable):
            self.set_header("Cache-Control", "no-store")
        if header is not None or self._is_session_read:
            self._vary_by(self._transport.request_header)

    def _session_header(self, session: Session) -> str | None:
        match self._cookie_action:
            case Keep():
                return None
            case Clear():
                return self._transport.clear(self.request)
            case Issue(session_id):
                return self._transport.issue(
                    self.request,
                    self._keyring,
                    session_id,
                    session.max_age,
                    self.session_manager.now(),
                )

    def _vary_by(self, name: str) -> None:
        if "Vary" not in self._headers:
            self.set_header("Vary", name)
            return
        given = self._headers["Vary"]
        if name.lower() not in (item.strip().lower() for item in given.split(",")):
            self.set_header("Vary", f"{given}, {name}")
