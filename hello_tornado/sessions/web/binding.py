"""When a handler's session is loaded and stored: before the method, and before the first byte.

Tornado's `finish()` is synchronous, and a store is not. So when there is something to store,
`finish()` only notes that the response is complete and returns an awaitable, which commits the
session and then lets Tornado send. It begins when it is awaited, or else with the next turn of the
event loop, and `_execute()` waits for its end. When there is nothing to store, `finish()` is
Tornado's own. Whatever fails on the way is answered as if the handler had raised it.
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
    "loading",  # the session is not there yet
    "open",  # the handler is at work
    "committing",  # it has called `finish()`, and the response waits for the store
    "sent",  # Tornado's `finish()` was called: nothing is stored any more
    "failing",  # a step has failed, and an error is answered: only a logout is still stored
    "failed",  # that answer is sent, or has failed, too: nothing is stored any more
]
"""How far a handler has come with its session."""

# What follows on each phase when something happens in it. A phase that is missing here is one in
# which it cannot happen.
LOADED: Final[Mapping[Phase, Phase]] = {"loading": "open", "sent": "sent"}
FINISHED: Final[Mapping[Phase, Phase]] = {"open": "committing", "failing": "failing"}
SENT: Final[Mapping[Phase, Phase]] = {
    "loading": "sent",  # the page of an error that came before the session
    "open": "sent",  # nothing is to be stored
    "committing": "sent",
    "sent": "sent",  # the first attempt has raised
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
    "error",  # of the request, which therefore stores nothing but a logout
    "later",  # the same, and the client may ask again in a while
]
"""What the response is."""


class _WhenHeadersLeave(OutputTransform):
    def __init__(self, write: Callable[[HTTPHeaders], object]) -> None:
        self.write = write

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, _finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        self.write(headers)
        return status_code, headers, chunk


def when_headers_leave(handler: RequestHandler, write: Callable[[HTTPHeaders], object]) -> None:
    """Call *write* with the headers of any handler's response before they leave.

    That includes the page of an error, for which Tornado forgets the headers that were set before.
    If the headers have left, *write* is called at once, with headers that go nowhere. To ask for
    the same twice is to ask once.
    """
    transforms = handler._transforms
    if handler._headers_written:
        write(HTTPHeaders())
    elif not any(isinstance(one, _WhenHeadersLeave) and one.write == write for one in transforms):
        handler._transforms = [*transforms, _WhenHeadersLeave(write)]


class _NothingToAwait:
    """The result of a `prepare()` that does nothing: it may be awaited, and need not be."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


NOTHING_TO_AWAIT: Final = _NothingToAwait()


class CommittingHandler(XsrfMixin):
    """Loads a session before `prepare()`, and stores it before the response leaves."""

    _phase: Phase = "loading"
    _request_session: RequestSession | None = None
    _pending: PendingFinish | None = None
    _due: Due | None = None
    _response_kind: ResponseKind = "page"
    _errors_begin_at: ClassVar = 500  # the lowest status of a request that has failed

    async def _load_session(self) -> None:
        """Open the session, as `_request_session`."""
        raise NotImplementedError

    def get_session_device(self) -> Device | None:
        """Called at a login: what the person's list of devices will say. None: nothing."""
        raise NotImplementedError

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
        self._phase = FINISHED[self._phase]
        self._finished = True  # for the handler the request is over; Tornado has yet to send
        self._close_session()
        return self._defer(partial(self._take_in, (self._phase,), self._commit_then_finish))

    def flush(self, include_footers: bool = False) -> "asyncio.Future[None]":
        """Tornado's `flush()`, after the session is stored; may be awaited or not."""
        is_first = self._phase in ANSWERING and not self._headers_written
        if is_first and (self._is_commit_pending() or self._decide() is not NOT_DUE):
            return self._defer(partial(self._take_in, ANSWERING, self._commit_then_flush))
        return self._flush_now(include_footers)

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Tornado's `send_error()`; a store that does not answer, or a busy session, is a 503."""
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
            if (opened := self._request_session) is not None and opened.lease is not None:
                await opened.lease.release(opened.session)

    def _defer(
        self,
        step: Callable[[], Awaitable[Arrival]],
        fail: Callable[[Exception], None] | None = None,
    ) -> "asyncio.Future[None]":
        """Take *step* after those that wait already, so that commits never run side by side."""
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
        """Take a *step* of the response, unless the response is another one by now."""
        return await step() if self._phase in phases else None

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
        self._phase = FAILED[self._phase]
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

    def _is_failing(self) -> bool:
        if self._response_kind != "page" or self._phase == "failing":
            return True
        return self.get_status() >= self._errors_begin_at

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
        opened = self._request_session
        if opened is None or self._phase not in STORING:
            return NOT_DUE
        only_end = self._is_failing() if not is_explicit else self._phase == "failing"
        session = opened.session
        if (session.record is None or session.logs_in) and not only_end and opened.use != "dropped":
            self._note_what_begins(session)
        return opened.due(only_end=only_end)

    def _note_what_begins(self, session: Session) -> None:
        """Let a session know the device of its login, and the form by which it begins."""
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
        if opened is None or self._phase not in ANSWERING:  # a step before it has failed
            return
        if opened.session.record is None:
            opened.update_unstored(function)
            await self._commit_explicitly()
        else:
            await opened.update(function)

    async def _commit(self, *, is_explicit: bool = False) -> None:
        decided, self._due = self._due, None  # by finish(), if no other commit came between
        due = self._decide(is_explicit=is_explicit) if decided is None else decided
        if self._request_session is not None and due is not NOT_DUE:
            await self._request_session.carry_out(due)
