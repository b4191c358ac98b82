"""Loads a handler's session before its method and stores it before the first byte of the response.

Tornado's `finish()` is synchronous, and a store is not. If there is something to store, `finish()`
only notes that the response is complete and returns an awaitable, which commits the session and
then lets Tornado send. It starts when it is awaited, or else in the next iteration of the event
loop, and `_execute()` waits for it. If there is nothing to store, `finish()` is that of Tornado.
Errors during the commit are handled as if the handler had raised them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Final, Literal, TypeAlias, cast

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError, OutputTransform, RequestHandler

from hello_tornado.sessions.errors import SessionBusy, SessionUnreadable, StoreUnavailable
from hello_tornado.sessions.session.device import Device
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.web.pending_finish import Arrival, PendingFinish
from hello_tornado.sessions.web.request_session import (
    NOT_DUE,
    Due,
    RequestSession,
)
from hello_tornado.sessions.web.xsrf import XsrfMixin

logger = logging.getLogger("hello_tornado.sessions")

UNAVAILABLE: Final = (SessionBusy, StoreUnavailable)
RETRY_AFTER_SECONDS: Final = 5

Phase: TypeAlias = Literal[
    "loading",  # the session was not loaded yet
    "open",  # the handler is running
    "committing",  # the handler has called `finish()`, and the response waits for the store
    "sent",  # Tornado's `finish()` was called; nothing is stored any more
    "failing",  # a step has failed, and an error is sent; only a logout is still stored
    "failed",  # the error was sent, or that has failed, too; nothing is stored any more
]
"""The state of a request with a session."""

# The next phase after each event. Phases in which an event cannot happen are not listed.
LOADED: Final[Mapping[Phase, Phase]] = {"loading": "open", "sent": "sent"}
FINISHED: Final[Mapping[Phase, Phase]] = {"open": "committing", "failing": "failing"}
SENT: Final[Mapping[Phase, Phase]] = {
    "loading": "sent",  # the page of an error before the session was loaded
    "open": "sent",  # there is nothing to store
    "committing": "sent",
    "sent": "sent",  # the first attempt has raised an error
    "failing": "failed",
    "failed": "failed",
}
FAILED: Final[Mapping[Phase, Phase]] = {
    "open": "failing",
    "committing": "failing",
    "sent": "failing",  # Tornado could not send it
    "failing": "failed",
    "failed": "failed",
}

STORING: Final[Collection[Phase]] = ("open", "committing", "failing")
ANSWERING: Final[Collection[Phase]] = ("open", "committing")

ResponseKind: TypeAlias = Literal[
    "page",
    "error",  # the request has failed, so only a logout is stored
    "later",  # the same, and the client may retry later
]
"""The kind of the response."""


class _WhenHeadersLeave(OutputTransform):
    def __init__(self, write: Callable[[HTTPHeaders], object]) -> None:
        self.write = write

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, _finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        self.write(headers)
        return status_code, headers, chunk


def when_headers_leave(handler: RequestHandler, write: Callable[[HTTPHeaders], object]) -> None:
    """Call *write* with the headers of any handler's response before they are sent.

    This includes error pages, for which Tornado discards the headers that were set before. If the
    headers were sent already, *write* is called at once, with headers that are not used. Calling
    this twice with the same function has no further effect.
    """
    transforms = handler._transforms
    if handler._headers_written:
        write(HTTPHeaders())
    elif not any(isinstance(one, _WhenHeadersLeave) and one.write == write for one in transforms):
        handler._transforms = [*transforms, _WhenHeadersLeave(write)]


class _NothingToAwait:
    """The result of a `prepare()` that does nothing; it may be awaited but need not be."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


NOTHING_TO_AWAIT: Final = _NothingToAwait()


class CommittingHandler(XsrfMixin):
    """Loads a session before `prepare()` and stores it before the response is sent."""

    _phase: Phase = "loading"
    _request_session: RequestSession | None = None
    _pending: PendingFinish | None = None
    _due: Due | None = None
    _response_kind: ResponseKind = "page"
    _errors_begin_at: ClassVar = 500  # requests with this status or above have failed

    async def _load_session(self) -> None:
        """Open the session and set `_request_session`."""
        raise NotImplementedError

    def get_session_device(self) -> Device | None:
        """Return the device to store at a login, or None for none."""
        raise NotImplementedError

    def prepare(self) -> Any:
        """Override this as in Tornado. The overriding method need not call it; it may await it."""
        prepared = super().prepare()
        return NOTHING_TO_AWAIT if prepared is None else prepared

    async def _load_then(self, prepare: Callable[[], Awaitable[None] | None]) -> None:
        await self._load_session()
        self._check_token_again()
        prepared = prepare()
        if prepared is not None and prepared is not NOTHING_TO_AWAIT:
            await prepared

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> "asyncio.Future[None]":
        """Store the session, then do what Tornado's `finish()` does; awaiting it is optional."""
        if self._finished:
            return super().finish(chunk)  # raises an error: finish() was called twice
        if self._phase not in STORING:
            return self._send(chunk)
        self._due = self._due_at_the_end()
        if self._due is NOT_DUE:
            return self._send(chunk)
        if chunk is not None:
            self.write(chunk)
        self._phase = FINISHED[self._phase]
        self._finished = True  # the handler has finished, but Tornado has not sent the response yet
        self._close_session()
        return self._defer(partial(self._take_in, (self._phase,), self._commit_then_finish))

    def flush(self, include_footers: bool = False) -> "asyncio.Future[None]":
        """Store the session, then do what Tornado's `flush()` does; awaiting it is optional."""
        is_first = self._phase in ANSWERING and not self._headers_written
        if is_first and (self._is_commit_pending() or self._decide() is not NOT_DUE):
            return self._defer(partial(self._take_in, ANSWERING, self._commit_then_flush))
        return self._flush_now(include_footers)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Do what Tornado's `send_error()` does; an unavailable store or busy session is a 503."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, UNAVAILABLE):
            self._response_kind, status_code = "later", 503
        elif status_code >= 500 and self._response_kind == "page":
            self._response_kind = "error"
        super().send_error(status_code, **kwargs)

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Do what Tornado's `log_exception()` does; for a 503, log one line without a traceback."""
        if isinstance(value, SessionUnreadable):
            return  # the event `RecordUnreadable` is logged instead, at most once a minute
        if isinstance(value, UNAVAILABLE):
            logger.error("%s: %s", self._request_summary(), value)
        else:
            super().log_exception(typ, value, tb)

    async def _execute(
        self, transforms: list[OutputTransform], *args: bytes, **kwargs: bytes
    ) -> None:
        # The session is loaded before any `prepare()`, also one that overrides ours.
        self.prepare = partial(self._load_then, self.prepare)  # type: ignore[method-assign]
        try:
            await super()._execute(transforms, *args, **kwargs)
        finally:
            del self.prepare  # otherwise a reference cycle would keep the handler in memory
            settled: PendingFinish | None = None
            while (step := self._pending) is not None and step is not settled:
                settled = step  # a step that fails may add another one
                await step.settle()
            if (opened := self._request_session) is not None and opened.lease is not None:
                await opened.lease.release(opened.session)

    def _defer(
        self,
        step: Callable[[], Awaitable[Arrival]],
        fail: Callable[[Exception], None] | None = None,
    ) -> "asyncio.Future[None]":
        """Run *step* after the steps that already wait, so that commits never run concurrently."""
        self._pending = PendingFinish(step, fail or self._fail, self._pending)
        return cast("asyncio.Future[None]", self._pending)

    def _is_commit_pending(self) -> bool:
        return self._pending is not None and not self._pending.is_done

    def _send(self, chunk: str | bytes | dict[str, Any] | None) -> "asyncio.Future[None]":
        self._phase = SENT[self._phase]
        self._close_session()
        return super().finish(chunk)

    def _close_session(self) -> None:
        if self._request_session is not None:
            self._request_session.session.response = "complete"

    def _flush_now(self, include_footers: bool = False) -> "asyncio.Future[None]":
        if not self._headers_written:
            if self._request_session is not None and self._request_session.write_headers(
                self._headers
            ):
                self._renew_xsrf_cookie()
            if self._response_kind == "later":
                self.set_header("Retry-After", RETRY_AFTER_SECONDS)
        return super().flush(include_footers)

    async def _take_in(
        self, phases: Collection[Phase], step: Callable[[], Awaitable[Arrival]]
    ) -> Arrival:
        """Run a *step* of the response unless the phase has changed, for example by an error."""
        return await step() if self._phase in phases else None

    async def _commit_then_flush(self) -> "asyncio.Future[None]":
        await self._commit()
        while self._decide().changes_cookie:  # changed by the handler since; the headers need it
            await self._commit()
        return self._flush_now()

    async def _commit_then_finish(self) -> "asyncio.Future[None] | None":
        try:
            await self._commit()
            self._finished = False
            return self._send(None)
        except Exception as error:  # noqa: BLE001 - it is handled as if the handler had raised it
            self._fail(error)
        except BaseException:  # the request was cancelled, but the client still waits
            self._fail(HTTPError(500))
            raise
        return None

    def _fail(self, error: Exception) -> None:
        """Handle *error* as if the handler had raised it.

        If no error page can be sent, close the connection.
        """
        if self._finished and self._phase not in STORING:  # raised later, by on_finish()
            self.log_exception(type(error), error, error.__traceback__)
            return
        self._phase = FAILED[self._phase]
        self._finished = False
        try:
            if self._headers_written:  # the client must not take the response for a complete one
                self.log_exception(type(error), error, error.__traceback__)
            else:
                self._handle_request_exception(error)
        except Exception:
            logger.exception("the error page of %s failed", type(self).__name__)
        if not self._finished:
            self._finished = True
            cast("HTTP1Connection", self.request.connection).close()

    def _is_failing(self) -> bool:
        if self._response_kind != "page" or self._phase == "failing":
            return True
        return self.get_status() >= self._errors_begin_at

    def _due_at_the_end(self) -> Due | None:
        """Return what is due, or None if that is uncertain: during a commit, or after an error."""
        if self._is_commit_pending():
            return None
        try:
            return self._decide()
        except Exception:  # noqa: BLE001 - the deferred step raises it again and handles it
            return None

    def _decide(self, *, is_explicit: bool = False) -> Due:
        """Return what is due now; if the request fails, only a logout, unless *is_explicit*."""
        opened = self._request_session
        if opened is None or self._phase not in STORING:
            return NOT_DUE
        only_end = self._is_failing() if not is_explicit else self._phase == "failing"
        session = opened.session
        if (session.record is None or session.logs_in) and not only_end and opened.use != "dropped":
            self._note_what_begins(session)
        return opened.due(only_end=only_end)

    def _note_what_begins(self, session: Session) -> None:
        """Note in a session the device of its login and the XSRF token of its first form."""
        if session.logs_in and (device := self.get_session_device()) is not None:
            session._note_device(device)
        if session.record is None:
            token = self._own_xsrf_token()
            if token is not None and session.modified:
                session._remember_xsrf_token(token)

    async def _commit_explicitly(self) -> None:
        await self._commit(is_explicit=True)

    async def _update_now(self, function: Callable[[Session], object]) -> None:
        await self._commit_explicitly()
        opened = self._request_session
        if opened is None or self._phase not in ANSWERING:  # an earlier step has failed
            return
        if opened.session.record is None:
            opened.update_unstored(function)
            await self._commit_explicitly()
        else:
            await opened.update(function)

    async def _commit(self, *, is_explicit: bool = False) -> None:
        decided, self._due = self._due, None  # set by finish() unless another commit was running
        due = self._decide(is_explicit=is_explicit) if decided is None else decided
        if self._request_session is not None and due is not NOT_DUE:
            await self._request_session.carry_out(due)
