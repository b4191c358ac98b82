"""Sessions in Tornado's handlers: loaded before the method, stored before the first byte leaves.

Tornado's `finish()` is synchronous, and a store is not. So when there is something to store,
`finish()` only notes that the response is complete and returns an awaitable, which commits the
session and then lets Tornado send. It begins when it is awaited, or else with the next turn of the
event loop, and `_execute()` waits for its end. When there is nothing to store, `finish()` is
Tornado's own. Whatever fails on the way is answered as if the handler had raised it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, TypeAlias, cast

from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, OutputTransform, RequestHandler

from hello_tornado.sessions import options
from hello_tornado.sessions.carriers.carrier import NOTHING_PRESENTED, PresentedIds, carrier_of
from hello_tornado.sessions.carriers.proxies import address_of, is_https
from hello_tornado.sessions.carriers.signing import Keyring, SignedId
from hello_tornado.sessions.errors import (
    ConfigurationError,
    ReadOnly,
    SessionBusy,
    SessionEnded,
    SessionNotLoaded,
    SessionUnreadable,
    StoreUnavailable,
)
from hello_tornado.sessions.events import CookieRejected, RequestForbidden, SessionNotBegun
from hello_tornado.sessions.manager.actions import KEEP, Clear, CookieAction, Issue, Keep
from hello_tornado.sessions.manager.leases import Lease, lease
from hello_tornado.sessions.manager.manager import SessionManager, refuse_coroutine
from hello_tornado.sessions.records.ids import SessionId, key_of
from hello_tornado.sessions.records.immutable import immutable
from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.session.device import Device
from hello_tornado.sessions.session.draft import NOTHING, Create, End, Intent, Update
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.stores.deadlines import Wait
from hello_tornado.sessions.web.pending_finish import Arrival, PendingFinish
from hello_tornado.sessions.web.xsrf import XsrfMixin

logger = logging.getLogger("hello_tornado.sessions")

UNAVAILABLE: Final = (SessionBusy, StoreUnavailable)
RETRY_AFTER_SECONDS: Final = 5
# A cookie that ends with the browser is signed anew this often, lest its signature grow too old.
RESIGN_AFTER: Final = timedelta(days=1) // MICROSECOND


Phase: TypeAlias = Literal[
    "loading",
    "open",
    "failing",  # an error is answered instead: nothing is stored any more but a logout
    "failed",  # that is sent, or has failed, too
    "sending",  # Tornado sends the end of the response: nothing is stored any more
]
"""How far a handler has come with its session."""

STORING: Final = ("open", "failing")
FAILURES: Final = ("failing", "failed")


@immutable
class Due:
    """What must be done before the response may leave."""

    intent: Intent
    resigns: bool = False  # the browser needs its cookie anew

    @property
    def changes_cookie(self) -> bool:
        """Whether the cookie will be another one, or none, when this is done."""
        match self.intent:
            case Create() | End():
                return True
            case Update(renewal=renewal):
                return renewal is not None
        return False


NOT_DUE: Final = Due(NOTHING)


class _NothingToAwait:
    """For who awaits a `prepare()` that does nothing, and for who does not."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


NOTHING_TO_AWAIT: Final = _NothingToAwait()


class SessionMixin(XsrfMixin):
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

    _phase: Phase = "loading"
    _manager: SessionManager | None = None
    _session: Session | None = None
    _presented: PresentedIds | None = None
    _signed: SignedId | None = None
    _cookie_action: CookieAction = KEEP
    _pending: PendingFinish | None = None
    _due: Due | None = None
    _lease: Lease | None = None
    _known_user: tuple[int, Any] | None = None
    _is_session_read = False
    _is_session_dropped = False
    _is_unavailable = False
    _is_told_not_begun = False
    _has_failed = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the options that a handler's class sets, misspelt ones included."""
        super().__init_subclass__(**kwargs)
        options.check_attributes(cls)

    def prepare(self) -> Any:
        """Tornado's hook. One of your own need not call it, and may await it if it likes."""
        prepared = super().prepare()
        return NOTHING_TO_AWAIT if prepared is None else prepared

    async def _load_then(self, prepare: Callable[[], Awaitable[None] | None]) -> None:
        await self._load_session()
        self._check_token_again()
        prepared = prepare()
        if prepared is not None and prepared is not NOTHING_TO_AWAIT:
            await prepared

    async def _load_session(self) -> None:
        """Load the session that the request's cookie names."""
        self._wait = Wait()  # all that the request asks of the store shares one limit
        try:
            if self._read() is NOTHING_PRESENTED:
                session = await self.session_manager.open(None)
            else:
                with self._wait:
                    session = await self._open_session()
            session.keeps_alive = self.session_touch
            if self.session_read_only:
                session.refusal = ReadOnly(f"{type(self).__name__}.session_read_only is set")
            self._session = session
        except StoreUnavailable as error:
            if self.session_required:
                raise
            if not isinstance(error, SessionUnreadable):  # of that an event tells, now and then
                logger.error("%s: %s; it goes on without", self._request_summary(), error)  # noqa: TRY400
            self._session = await self.session_manager.open(None)
            self._session.refusal = error
        self._phase = "open"

    @property
    def session(self) -> Session:
        """This visitor's session; a new, empty one for who has none. `del` follows `unset`."""
        if self._session is None:
            raise SessionNotLoaded(
                f"{type(self).__name__}.session is loaded after initialize(), before prepare()"
            )
        if self._is_session_dropped:
            raise SessionEnded("this request has dropped its session")
        self._is_session_read = True
        return self._session

    @session.setter
    def session(self, value: Session | None) -> None:
        if value is None:
            del self.session
        elif value is not self._session:  # it is after `self.session |= {…}`
            raise TypeError("handler.session can only be set to None; change the session instead")

    @session.deleter
    def session(self) -> None:
        if self.session_manager.unset == "destroy":
            self.session.destroy()
        else:
            self._is_session_dropped = True

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
    def current_user(self) -> Any:
        """Tornado's `current_user`; asked for anew after a login, a logout or a `reset()`."""
        generation = 0 if self._session is None else self._session.generation
        if self._known_user is None or self._known_user[0] != generation:
            self._known_user = (generation, self.get_current_user())
        return self._known_user[1]

    @current_user.setter
    def current_user(self, value: Any) -> None:
        self._known_user = (0 if self._session is None else self._session.generation, value)

    def get_current_user(self) -> str | None:
        """The session's `user_id`, so that `current_user` and `@authenticated` work."""
        if self._is_session_dropped:
            return None
        if self._session is None and self.get_status() >= 400:
            return None  # the page of an error that came before prepare()
        return self.session.user_id

    def get_session_device(self) -> Device | None:
        """Called at a login: what the person's list of devices will say. None: nothing."""
        user_agent = self.request.headers.get("User-Agent", "")
        return Device(user_agent, address_of(self.request, self.session_manager.trusted_proxies))

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

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> "asyncio.Future[None]":
        """Tornado's `finish()`, after the session is stored; may be awaited or not."""
        if self._finished:
            return super().finish(chunk)  # which says that it was called twice
        if self._phase not in STORING:
            return self._send(chunk)
        self._due = self._due_at_the_end()
        if self._due is NOT_DUE:
            return self._send(chunk)
        if chunk is not None:
            self.write(chunk)
        self._finished = True  # for the handler the request is over; Tornado has yet to send
        self._close_session()
        return self._defer(partial(self._unless_failed, self._phase, self._commit_then_finish))

    def flush(self, include_footers: bool = False) -> "asyncio.Future[None]":
        """Tornado's `flush()`, after the session is stored; may be awaited or not."""
        is_first = self._phase == "open" and not self._headers_written
        if is_first and (self._is_commit_pending() or self._decide() is not NOT_DUE):
            return self._defer(partial(self._unless_failed, self._phase, self._commit_then_flush))
        return self._flush_now(include_footers)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Tornado's `send_error()`; a store that does not answer, or a busy session, is a 503."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, UNAVAILABLE):
            self._is_unavailable = True
            status_code = 503
        self._has_failed = self._has_failed or status_code >= 500
        super().send_error(status_code, **kwargs)

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Tornado's `log_exception()`; what is a 503 is one line, without a traceback."""
        if isinstance(value, SessionUnreadable):
            return  # `RecordUnreadable` tells of it, and is limited
        if isinstance(value, UNAVAILABLE):
            logger.error("%s: %s", self._request_summary(), value)
        else:
            super().log_exception(typ, value, tb)

    async def _execute(
        self, transforms: list[OutputTransform], *args: bytes, **kwargs: bytes
    ) -> None:
        # Whichever `prepare()` there is, the session is loaded before it.
        self.prepare = partial(self._load_then, self.prepare)  # type: ignore[method-assign]
        try:
            await super()._execute(transforms, *args, **kwargs)
        finally:
            del self.prepare  # or the handler would refer to itself, and not be freed at once
            settled: PendingFinish | None = None
            while (step := self._pending) is not None and step is not settled:
                settled = step  # one that fails may leave another one
                await step.settle()
            if self._lease is not None and self._session is not None:
                await self._lease.release(self._session)

    def _defer(
        self,
        step: Callable[[], Awaitable[Arrival]],
        fail: Callable[[Exception], None] | None = None,
    ) -> "asyncio.Future[None]":
        """Take *step* after those that wait already, so that commits never run side by side."""
        after = self._pending if self._is_commit_pending() else None
        self._pending = PendingFinish(step, fail or self._fail, after)
        return cast("asyncio.Future[None]", self._pending)

    def _is_commit_pending(self) -> bool:
        return self._pending is not None and not self._pending.is_done

    def _send(self, chunk: str | bytes | dict[str, Any] | None) -> "asyncio.Future[None]":
        self._phase = "failed" if self._phase in FAILURES else "sending"
        self._close_session()
        return super().finish(chunk)

    def _close_session(self) -> None:
        if self._session is not None:
            self._session.response = "complete"

    def _flush_now(self, include_footers: bool = False) -> "asyncio.Future[None]":
        if not self._headers_written:
            self._write_session_headers()
            if self._is_unavailable:
                self.set_header("Retry-After", RETRY_AFTER_SECONDS)
        return super().flush(include_footers)

    async def _unless_failed(self, phase: Phase, step: Callable[[], Awaitable[Arrival]]) -> Arrival:
        """Take a step of the response that was begun in *phase*, unless another one is sent now."""
        return await step() if self._phase == phase else None

    async def _commit_then_flush(self) -> "asyncio.Future[None]":
        await self._commit()
        while self._decide().changes_cookie:  # the handler went on: it must leave with the headers
            await self._commit()
        return self._flush_now()

    async def _commit_then_finish(self) -> "asyncio.Future[None] | None":
        try:
            await self._commit()
            self._finished = False
            return self._send(None)
        except Exception as error:  # noqa: BLE001 - it is handled as if the handler had raised it
            self._fail(error)
        except BaseException:  # the request is cancelled, but the client still waits
            self._fail(HTTPError(500))
            raise
        return None

    def _fail(self, error: Exception) -> None:
        """Answer *error* as if the handler had raised it; what cannot be sent is cut off."""
        if self._finished and self._phase not in STORING:  # raised after the end, by on_finish()
            self.log_exception(type(error), error, error.__traceback__)
            return
        self._phase = "failed" if self._phase in FAILURES else "failing"
        self._finished = False
        try:
            if self._headers_written:  # the client must not take for whole what was not stored
                self.log_exception(type(error), error, error.__traceback__)
            else:
                self._handle_request_exception(error)
        except Exception:
            logger.exception("the error page of %s failed", type(self).__name__)
        if not self._finished:
            self._finished = True
            cast("HTTP1Connection", self.request.connection).close()

    def _forbidden(self, reason: str) -> None:
        self.session_manager.emit(RequestForbidden(reason))

    def _presented_ids(self) -> list[SessionId]:
        return [signed.session_id for signed in self._read().signed]

    def _is_remembered(self, token: bytes) -> bool:
        return self._session is not None and self._session._remembers_xsrf_token(token)

    def _may_set_xsrf_cookie(self) -> bool:
        return self._session is None or self._session.tombstone is None

    def _living_id(self) -> SessionId | None:
        session = self._session
        return self._session_id if session is not None and not session.ended else None

    def _id_after_response(self, *, is_needed: bool) -> SessionId | None:
        session = self._session
        if session is None or session.tombstone or isinstance(session.refusal, StoreUnavailable):
            presented = self._presented_ids()  # not loaded, or not to be replaced by another one
            return presented[0] if len(presented) == 1 else self._session_id
        is_settled = session.response != "not started"
        if is_settled or session.ended or self._is_failing():
            return self._session_id
        self._is_session_read = True
        if session.renewal is not None or (
            session.is_new and (is_needed or session.modified) and self._can_begin()
        ):
            return self.session_manager.draw_id(session, self.request)
        return self._session_id

    @property
    def _session_id(self) -> SessionId | None:
        """The id that the browser has, or will have with this response."""
        if isinstance(self._cookie_action, Issue):
            return self._cookie_action.session_id
        return self._signed.session_id if self._signed else None

    def _read(self) -> PresentedIds:
        """The ids that the request carries; read once, before `prepare()` if there is a token."""
        if self._presented is None:
            manager, settings = self.session_manager, self.application.settings
            if "session_cookie" in settings:
                raise ConfigurationError(
                    "session_cookie is no setting of an application: write SessionManager(cookie=…)"
                )
            self._carrier = carrier_of(manager.cookie, self.request)
            self._keyring = Keyring.of(settings)
            self._is_https = is_https(self.request, manager.trusted_proxies)
            self._presented = self._carrier.read(
                self.request, self._keyring, manager.now(), https=self._is_https
            )
        return self._presented

    async def _open_session(self) -> Session:
        presented = self._read()
        if len(presented.signed) != 1 or presented.rejected is not None:
            return await self._open_one_of(presented)
        (signed,) = presented.signed
        session = await self.session_manager.open(signed.session_id)
        if session.record is None:
            session.presented = (key_of(signed.session_id),)
            return session
        self._signed = signed
        return await self._leased(session) if self.session_exclusive else session

    async def _leased(self, session: Session) -> Session:
        """The session for this request alone; as it is by then, if it has ended meanwhile."""
        record, chosen = session.record, self.session_exclusive
        is_chosen = chosen if isinstance(chosen, bool) else self.request.method in chosen
        if record is None or not is_chosen:
            return session
        wait, lasts = self.session_wait, self.session_lease
        leased = await lease(self.session_manager, record, wait=wait, lasts=lasts)
        others = session.presented  # a logout ends them, too
        if leased is None:
            session = await self.session_manager.reload(session)
        else:
            session, self._lease = leased
        session.presented += others
        return session

    async def _open_one_of(self, presented: PresentedIds) -> Session:
        manager = self.session_manager
        if presented.rejected is not None:
            manager.emit(CookieRejected(presented.rejected))
        living: list[tuple[SignedId, Session]] = []
        over: list[Session] = []
        for signed in presented.readable:
            session = await manager.open(signed.session_id)
            if session.is_new:
                over.append(session)
            else:
                living.append((signed, session))
        if len(living) == 1:
            ((self._signed, session),) = living
        elif living:
            manager.emit(CookieRejected("ambiguous"))
            session = await manager.open(None)
        else:  # a new one; in the place of one that is over it knows why
            session = over[0] if over else await manager.open(None)
        others = [one for one in presented.signed if one != self._signed]
        session.presented = tuple(key_of(one.session_id) for one in others)  # a logout ends them
        return await self._leased(session) if self.session_exclusive else session

    def _is_failing(self) -> bool:
        has_failed = self._has_failed or self._phase == "failing"
        return has_failed or self.get_status() >= 500

    def _due_at_the_end(self) -> Due | None:
        """What is due; None while that is not certain: beside another commit, or if it raises."""
        if self._is_commit_pending():
            return None
        try:
            return self._decide()
        except Exception:  # noqa: BLE001 - it is raised again in the deferred part, and answered
            return None

    def _decide(self, *, is_explicit: bool = False) -> Due:
        """What is due now; of a request that fails, unless *is_explicit*, only a logout."""
        session, manager = self._session, self.session_manager
        if session is None or self._phase not in STORING:
            return NOT_DUE
        is_failing = self._is_failing() if not is_explicit else self._phase == "failing"
        only_end = self._is_session_dropped or is_failing
        if session.logs_in and not only_end and (device := self.get_session_device()) is not None:
            session._note_device(device)
        if session.record is None and not only_end:
            token = self._own_xsrf_token()
            if token is not None and session.modified:
                session._remember_xsrf_token(token)
        now = manager.now()
        intent = session.intent(manager.rules, now, only_end=only_end)
        if isinstance(intent, Create) and not self._can_begin(intent):
            intent = NOTHING
        resigns = not only_end and self._is_resign_due(session, manager, now)
        return Due(intent, resigns) if resigns or intent is not NOTHING else NOT_DUE

    def _can_begin(self, intent: Create | None = None) -> bool:
        """Whether a new session could send its cookie; if not, an *intent* to store one is told."""
        reason = self._carrier.refuses(self.request, https=self._is_https)
        if reason is not None and intent and intent.changes and not self._is_told_not_begun:
            self._is_told_not_begun = True
            self.session_manager.emit(SessionNotBegun(reason))
        return reason is None and (self._session is None or self._session.refusal is None)

    async def _commit_explicitly(self) -> None:
        await self._commit(is_explicit=True)

    async def _update_now(self, function: Callable[[Session], object]) -> None:
        await self._commit_explicitly()
        if self._phase != "open":  # a step before it has failed: an error is answered
            return
        session, manager = self.session, self.session_manager
        if session.record is None:  # only this request knows of it
            with session._updating():
                refuse_coroutine(function(session))
            await self._commit_explicitly()
            return
        copies: list[Session] = []

        def applied(copy: Session) -> object:
            copies[:] = [copy]
            return function(copy)

        before, keeps_alive = session.lifetime, session.keeps_alive
        try:
            with self._wait:
                updated = await manager.update_from(
                    session.record, applied, keeps_alive=keeps_alive
                ) or await manager.reload(session)
        finally:
            if copies and copies[0].ended:  # by the function, also when it fails afterwards
                self._cookie_action = Clear()
                session.become(copies[0])
        if updated.ended or updated.record is None:
            session.become(updated)
            return
        session.rebase_on(updated.record, updated.document)
        current = self._session_id
        is_same = current is not None and key_of(current) == updated.record.key
        if current and is_same and session.lifetime != before and not self._headers_written:
            self._cookie_action = Issue(current)  # the browser has to be told

    async def _commit(self, *, is_explicit: bool = False) -> None:
        decided, self._due = self._due, None  # by finish(), if no other commit came between
        due = self._decide(is_explicit=is_explicit) if decided is None else decided
        if self._session is not None and due is not NOT_DUE:
            with self._wait:
                await self._carry_out(self._session, due)

    async def _carry_out(self, session: Session, due: Due) -> None:
        action = await self.session_manager.commit(session, self.request, due.intent)
        if not isinstance(action, Keep):
            self._cookie_action = action
        elif due.resigns and self._signed is not None:
            session_id = self._signed.session_id
            if await self.session_manager.is_living(session_id):
                self._cookie_action = Issue(session_id)

    def _is_resign_due(self, session: Session, manager: SessionManager, now: int) -> bool:
        """Whether a browser with a living session needs its cookie anew, though the id is the same.

        That is: always with `rolling`, else when its lifetime was changed, when another secret
        signs now, or with the age of the signature, so that a browser in use never loses a cookie
        to its Max-Age. Whether the session still lives is asked before the cookie is sent, lest it
        overwrite the newer one of a login that ran beside this request.
        """
        signed = self._signed
        if signed is None or session.ended or self._headers_written:
            return False
        if isinstance(self._cookie_action, Issue):
            return False
        if manager.rolling or session.is_lifetime_changed or not self._keyring.is_current(signed):
            return True
        if not session.keeps_alive:
            return False
        age, touch_after = now - signed.signed_at, session._touch_after(manager.rules)
        if age < touch_after and age < RESIGN_AFTER:
            return False
        persists = self._carrier.persists(session.lifetime.remember)
        return age >= (touch_after if persists else RESIGN_AFTER)

    def _write_session_headers(self) -> None:
        """Everything about the session that the browser, and any cache, must know."""
        session = self._session
        if session is None:
            return
        if session.response == "not started":
            session.response = "started"
        header = self._session_header(session)
        if header is not None:
            self.add_header(self._carrier.response_header, header)
        if header is not None or isinstance(session.refusal, StoreUnavailable):
            self.set_header("Cache-Control", "no-store")
        elif self._is_session_read and "Cache-Control" not in self._headers:
            self._headers["Cache-Control"] = "private"
        if header is not None or self._is_session_read:
            self._vary_by(self._carrier.request_header)
        if isinstance(self._cookie_action, Issue):
            self._renew_xsrf_cookie()

    def _session_header(self, session: Session) -> str | None:
        match self._cookie_action:
            case Keep():
                return None
            case Clear():
                has_one = bool(self._read().signed)
                return self._carrier.clear(https=self._is_https) if has_one else None
            case Issue(session_id):
                persists = self._carrier.persists(session.lifetime.remember)
                expires_at = session.expiry + self.session_manager.reason_told_for
                return self._carrier.issue(
                    self._keyring,
                    session_id,
                    expires_at if persists else None,
                    self.session_manager.now(),
                    https=self._is_https,
                )

    def _vary_by(self, name: str) -> None:
        if "Vary" not in self._headers:
            self._headers["Vary"] = name
            return
        given = self._headers["Vary"]
        if name.lower() not in (item.strip().lower() for item in given.split(",")):
            self.set_header("Vary", f"{given}, {name}")


class SessionHandler(SessionMixin, RequestHandler):
    """A handler with a session; `SessionMixin` gives one to handlers with a base of their own."""
