"""Limits the body of each request to the size that its page needs, before it is kept in memory.

A longer body is read and discarded, so that the client receives the answer (a 413). Beyond the
server's own `max_body_size` Tornado closes the connection.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.log import access_log
from tornado.web import Application, RequestHandler

# This attribute marks a request whose body was too large: its handler gets no body and refuses it.
TOO_LARGE: Final = "is_body_too_large"


class BoundedApplication(Application):
    """An application whose handlers set how large a body may be, and whether a request is logged.

    - `max_body_bytes` (0): the largest body that the handler accepts.
    - `is_routine` (False): requests that succeed are logged at the level DEBUG only.
    - `is_told` (False): this request is logged at DEBUG only, because the log has it already.
    """

    def log_request(self, handler: RequestHandler) -> None:
        """Tornado's hook; routine requests that succeed are logged at the level DEBUG only."""
        is_routine = getattr(handler, "is_routine", False) and handler.get_status() < 400
        if is_routine or getattr(handler, "is_told", False):
            access_log.debug("%d %s", handler.get_status(), handler._request_summary())
        else:
            super().log_request(handler)

    def get_handler_delegate(
        self,
        request: HTTPServerRequest,
        target_class: type[RequestHandler],
        target_kwargs: dict[str, Any] | None = None,
        path_args: list[bytes] | None = None,
        path_kwargs: dict[str, bytes] | None = None,
    ) -> Any:
        """Tornado's hook: return the object that reads the request and then calls the handler."""
        make = super().get_handler_delegate

        def begin() -> HTTPMessageDelegate:
            return make(request, target_class, target_kwargs, path_args, path_kwargs)

        return _BoundedBody(request, begin, getattr(target_class, "max_body_bytes", 0))


class _BoundedBody(HTTPMessageDelegate):
    """Passes a request on to Tornado's delegate, unless its body exceeds *limit* bytes."""

    def __init__(
        self, request: HTTPServerRequest, begin: Callable[[], HTTPMessageDelegate], limit: int
    ) -> None:
        self._request = request
        self._begin = begin
        self._delegate = begin()
        self._left = limit

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        if headers.get("Content-Type", "").startswith("multipart/"):
            del headers["Content-Type"]  # no page has such a form, and parsing one is expensive
        length = headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > self._left:
            self._left = -1
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._left >= 0:
            self._left -= len(chunk)
        return self._delegate.data_received(chunk) if self._left >= 0 else None

    def finish(self) -> None:
        if self._left < 0:
            self._delegate.on_connection_close()  # it discards what it has received
            self._delegate = self._begin()
            # Without a body there is nothing to parse.
            self._request.headers.pop("Content-Type", None)
            setattr(self._request, TOO_LARGE, True)
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()
