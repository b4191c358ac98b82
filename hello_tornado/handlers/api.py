"""The key-value pairs of one's own session as JSON."""

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
VALUE_BYTES: Final = 16  # what a value costs before a login, beside the bytes of its JSON


class AnonymousLimits(NamedTuple):
    """What visitors who are not logged in may store."""

    max_bytes: int
    new_sessions: Rate


class Refused(HTTPError):
    """A request that cannot be carried out, with the reason for the client."""

    def __init__(
        self, status_code: int, message: str, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(status_code)
        self.message = message
        self.retry_after = retry_after


class SessionApiHandler(BaseHandler):
    """GET /api/session"""

    def get(self) -> None:
        """The session as it is."""
        self._write_session()

    max_body_bytes = MAX_BYTES

    def refuse_body(self) -> NoReturn:
        """413."""
        raise Refused(413, f"the body is larger than a session may be: {MAX_BYTES:,} bytes")

    async def _save_and_write(self) -> None:
        try:
            self._check_anonymous()
        except Refused:
            await self.reload_session()  # or what was refused would be stored with the answer
            raise
        try:
            await self.save_session()
        except SessionTooLarge as error:
            await self.reload_session()
            raise Refused(413, str(error)) from error
        if self.session.ended:
            raise Refused(409, "the session has ended meanwhile; nothing was stored")
        self._write_session()

    def _check_anonymous(self) -> None:
        """Refuse to store more than visitors who are not logged in may store."""
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
        """Refuse JSON that costs too much, which many small values do more than one long text."""
        limits: AnonymousLimits = self.settings["anonymous"]
        if self.session.user_id is not None:
            return
        values = text.count(b",") + text.count(b"[") + text.count(b"{")
        size = len(text) + VALUE_BYTES * values
        if size > limits.max_bytes:
            raise Refused(
                413,
                f"a session holds at most {limits.max_bytes:,} bytes before a login, and this "
                f"would be {size:,}; each comma, [ and {{ counts as {VALUE_BYTES} bytes more",
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
        """JSON, like everything here."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if status_code == 405:
            self.set_header("Allow", ", ".join(self._allowed_methods()))
        message = EXPLANATIONS.get(status_code, HTTPStatus(status_code).phrase)
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            message = f"This address does not answer to {self.request.method}."
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
        """The value in the request's body; `Refused` says what is wrong with it."""
        self._check_anonymous_size(self.request.body)  # before it costs anything
        try:
            return json.loads(self.request.body.decode(), parse_constant=_refuse_constant)
        except UnicodeDecodeError as error:
            raise Refused(400, "the body is not UTF-8") from error
        except json.JSONDecodeError as error:
            where = f"line {error.lineno}, column {error.colno}"
            raise Refused(400, f"the body is no JSON: {error.msg} at {where}") from error
        except (ValueError, RecursionError) as error:
            raise Refused(400, f"the body is no JSON that can be stored: {error}") from error


class SessionKeyApiHandler(SessionApiHandler):
    """PUT and DELETE /api/session/KEY"""

    get = BaseHandler._unimplemented_method

    async def put(self, key: str) -> None:
        """The body becomes the value of the key."""
        checked = _checked(key)
        try:
            self.session[checked] = self._body()
        except SerializationError as error:
            raise Refused(400, str(error)) from error
        await self._save_and_write()

    async def delete(self, key: str) -> None:
        """The key is gone afterwards, whether it was there or not."""
        self.session.pop(_checked(key), None)
        await self._save_and_write()


class SessionIncrementApiHandler(SessionApiHandler):
    """POST /api/session/KEY/increment"""

    get = BaseHandler._unimplemented_method

    async def post(self, key: str) -> None:
        """The key grows by `{"by": n}`, or by 1."""
        checked = _checked(key)
        body = self._body() if self.request.body else {}
        if not isinstance(body, dict) or not body.keys() <= {"by"}:
            raise Refused(400, 'the body is {"by": n}, or empty for 1')
        by = body.get("by", 1)
        if type(by) is not int:
            raise Refused(400, '"by" is a whole number')
        try:
            self.session.increment(checked, by)
        except TypeError as error:
            raise Refused(409, str(error)) from error
        except SerializationError as error:
            raise Refused(400, str(error)) from error
        await self._save_and_write()


def _checked(key: str) -> str:
    if not key.isprintable() or len(key) > MAX_KEY:
        raise Refused(400, f"a key has 1 to {MAX_KEY} printable characters")
    return key


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
