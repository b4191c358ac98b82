"""The session of the client as JSON: read it, and set, delete or increment its keys."""

import json
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, NamedTuple, NoReturn

from tornado.web import HTTPError

from hello_tornado.config.durations import words
from hello_tornado.handlers.base import EXPLANATIONS, BaseHandler
from hello_tornado.rates import Rate
from hello_tornado.sessions.errors import SerializationError, SessionTooLarge
from hello_tornado.sessions.manager.manager import MAX_BYTES
from hello_tornado.sessions.records.serializers import to_json

MAX_KEY: Final = 200
VALUE_BYTES: Final = 16  # added to the bytes of the JSON for each value, before a login


class AnonymousLimits(NamedTuple):
    """Limits for visitors who are not logged in."""

    max_bytes: int
    new_sessions: Rate


class Refused(HTTPError):
    """The request is refused; *message* tells the client why, *retry_after* when to try again."""

    def __init__(
        self, status_code: int, message: str, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(status_code)
        self.message = message
        self.retry_after = retry_after


class SessionApiHandler(BaseHandler):
    """GET /api/session"""

    def get(self) -> None:
        """Send the session."""
        self._write_session()

    max_body_bytes = MAX_BYTES

    def refuse_body(self) -> NoReturn:
        """Answer with a 413."""
        raise Refused(413, f"the body is larger than a session may be: {MAX_BYTES:,} bytes")

    async def _save_and_write(self) -> None:
        try:
            self._check_anonymous()
        except Refused:
            await self.reload_session()  # otherwise the response would store the refused change
            raise
        try:
            await self.save_session()
        except SessionTooLarge as error:
            await self.reload_session()
            raise Refused(413, str(error)) from error
        if self.session.ended:
            raise Refused(409, "the session ended during this request; nothing was stored")
        self._write_session()

    def _check_anonymous(self) -> None:
        """Refuse more data, or more new sessions, than visitors who are not logged in may have."""
        limits: AnonymousLimits = self.settings["anonymous"]
        if self.session.user_id is not None or not self.session:
            return
        values = to_json(dict(self.session), "data")
        self._check_anonymous_size(json.dumps(values, separators=(",", ":")).encode())
        if self.session.is_new:
            wait = limits.new_sessions.admit(self.address, self.session_manager.now())
            if wait is not None:
                message = f"too many new sessions from this address; try again in {words(wait)}"
                raise Refused(429, message, wait)

    def _check_anonymous_size(self, text: bytes) -> None:
        """Refuse JSON that needs too much memory; many small values need more than one text."""
        limits: AnonymousLimits = self.settings["anonymous"]
        if self.session.user_id is not None:
            return
        values = text.count(b",") + text.count(b"[") + text.count(b"{")
        size = len(text) + VALUE_BYTES * values
        if size > limits.max_bytes:
            raise Refused(
                413,
                f"a session holds at most {limits.max_bytes:,} bytes before a login, and this "
                f"would be {size:,}; each comma, [ and {{ counts as {VALUE_BYTES} more bytes",
            )

    def _write_session(self) -> None:
        session = self.session
        self._write_json(
            {
                "handle": session.handle,
                "user": session.user_id,
                "data": to_json(dict(session), "data", escaped=False),
                "created_at": session.created_at.isoformat(),
                "accessed_at": session.accessed_at.isoformat(),
                "expires_at": session.expires_at.isoformat(),
                "expires_in": int(session.expires_in.total_seconds()),
            }
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send the error as JSON."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if status_code == 405:
            self.set_header("Allow", ", ".join(self._allowed_methods()))
        message = EXPLANATIONS.get(status_code, HTTPStatus(status_code).phrase)
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            message = f"This address does not support {self.request.method}."
        if isinstance(error, Refused):
            message = error.message
            if error.retry_after is not None:
                self.set_header("Retry-After", int(error.retry_after.total_seconds()) + 1)
        self._write_json({"error": {"status": status_code, "message": message}})

    def _write_json(self, document: dict[str, Any]) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(document))

    def _body(self) -> Any:
        """Return the value in the request's body, or raise `Refused`."""
        self._check_anonymous_size(self.request.body)  # before it is parsed
        try:
            return json.loads(self.request.body.decode(), parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            raise Refused(400, "the body is not UTF-8") from error
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise Refused(400, f"the body is not JSON: {error.msg} at {where}") from error
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"the body cannot be stored as JSON: {error}") from error


class SessionKeyApiHandler(SessionApiHandler):
    """PUT and DELETE /api/session/KEY"""

    get = BaseHandler._unimplemented_method

    async def put(self, key: str) -> None:
        """Set the key to the value in the body."""
        checked = _checked(key)
        try:
            self.session[checked] = self._body()
        except SerializationError as error:
            raise Refused(400, str(error)) from error
        await self._save_and_write()

    async def delete(self, key: str) -> None:
        """Delete the key; it need not exist."""
        self.session.pop(_checked(key), None)
        await self._save_and_write()


class SessionIncrementApiHandler(SessionApiHandler):
    """POST /api/session/KEY/increment"""

    get = BaseHandler._unimplemented_method

    async def post(self, key: str) -> None:
        """Add n to the value of the key, from the body `{"by": n}`; by default 1."""
        checked = _checked(key)
        body = self._body() if self.request.body else {}
        if not isinstance(body, dict) or not body.keys() <= {"by"}:
            raise Refused(400, 'the body must be {"by": n}, or empty for 1')
        by = body.get("by", 1)
        if type(by) is not int:
            raise Refused(400, '"by" must be a whole number')
        try:
            self.session.increment(checked, by)
        except TypeError as error:
            raise Refused(409, str(error)) from error
        except SerializationError as error:
            raise Refused(400, str(error)) from error
        await self._save_and_write()


def _checked(key: str) -> str:
    if not key.isprintable() or len(key) > MAX_KEY:
        raise Refused(400, f"a key must have 1 to {MAX_KEY} printable characters")
    return key


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
