"""What all pages share: their session, their look, their headers, and how errors read."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from tornado.web import HTTPError, RequestHandler, StaticFileHandler

from hello_tornado.sessions import SessionMixin

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
EXPLANATIONS: Final = {
    400: "The request could not be understood.",
    403: "You are not allowed to do this from here.",
    404: "There is nothing at this address.",
    405: "This address does not answer to that kind of request.",
    500: "Something went wrong on our side, and it has been written down.",
    503: "The session store does not answer. Nothing was changed; please try again in a moment.",
}
UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


class InFlight:
    """The requests that are begun and not yet answered."""

    def __init__(self) -> None:
        self._handlers: set[RequestHandler] = set()
        self.none_left = asyncio.Event()
        self.none_left.set()

    def __len__(self) -> int:
        return len(self._handlers)

    def begin(self, handler: RequestHandler) -> None:
        """*handler* has taken a request on."""
        self._handlers.add(handler)
        self.none_left.clear()

    def end(self, handler: RequestHandler) -> None:
        """*handler* has answered."""
        self._handlers.discard(handler)
        if not self._handlers:
            self.none_left.set()


class SafeHeaders(RequestHandler):
    """Sends the security headers with every response, errors included."""

    def set_default_headers(self) -> None:
        """Tornado's hook: called at the start, and again before an error page."""
        self.clear_header("Server")
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)


class BaseHandler(SessionMixin, SafeHeaders):
    """A page with a session. HEAD is answered wherever GET is, by Tornado without the body."""

    def head(self, *args: str, **kwargs: str) -> Awaitable[None] | None:
        """As GET."""
        return self.get(*args, **kwargs)

    async def prepare(self) -> None:
        """Count the request as in flight, and load its session."""
        self.settings["in_flight"].begin(self)
        await super().prepare()

    def on_finish(self) -> None:
        """The response is complete."""
        self.settings["in_flight"].end(self)

    def get_template_namespace(self) -> dict[str, Any]:
        """What every template may name."""
        return super().get_template_namespace() | {"flashes": self.flashes, "words": words}

    def flashes(self) -> list[tuple[str, str]]:
        """The messages to show; an error page leaves them for the next one."""
        return [] if self.get_status() >= 400 else self.session.flashes()

    def write_error(self, status_code: int, **_kwargs: Any) -> None:
        """A page in the look of all others, which says nothing about the inside."""
        title = HTTPStatus(status_code).phrase
        explanation = EXPLANATIONS.get(status_code, "The request could not be answered.")
        self.render("error.html", status=status_code, title=title, explanation=explanation)


class NotFoundHandler(BaseHandler):
    """Every address that nobody else answers to; asks the store nothing."""

    async def prepare(self) -> None:
        """404."""
        raise HTTPError(404)


class SafeStaticFileHandler(SafeHeaders, StaticFileHandler):
    """Files, with the security headers."""


def words(duration: timedelta) -> str:
    """A duration as a person says it, in its largest whole unit: "59 minutes"."""
    seconds = max(0, int(duration.total_seconds()))
    for unit, length in UNITS:
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return "less than a second"
