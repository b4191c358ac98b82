"""What all pages share: their session, their look, their headers, and how errors read."""

import asyncio
import re
import unicodedata
from collections.abc import Awaitable
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, NoReturn
from urllib.parse import urlencode

from tornado.web import HTTPError, RequestHandler, StaticFileHandler

from hello_tornado.bodies import TOO_LARGE
from hello_tornado.config.durations import words
from hello_tornado.sessions import Flash, SessionMixin
from hello_tornado.sessions.carriers.proxies import address_of, is_https

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
# A path of this server: one slash, then printable ASCII; "//" and "/\\" would lead elsewhere, and
# encoded control characters have no business in an address.
LOCAL_PATH: Final = re.compile(
    r"/(?![/\\])(?!.*%(?:[01][0-9a-f]|7f))[\x21-\x5b\x5d-\x7e]{0,2000}", re.IGNORECASE
)
RIGHT_TO_LEFT: Final = {"R", "AL", "AN"}
EXPLANATIONS: Final = {
    400: "The request could not be understood.",
    403: "You are not allowed to do this from here.",
    404: "There is nothing at this address.",
    405: "There is nothing to see here: this address only accepts a form.",
    413: "What was sent is larger than this page accepts. Nothing was changed.",
    429: "There were too many requests from your network. Please try again in a minute.",
    500: "Something went wrong on our side, and it has been written down.",
    503: "We cannot reach your data at the moment. Nothing was changed; please try again soon.",
}
ENDINGS: Final = {
    "expired": "You were signed out because your session had expired.",
    "logged_out": "You have signed out.",
    "revoked": "You were signed out from another device.",
    "ended": "Your session has ended.",
}


class PlainHandler(RequestHandler):
    """Without a session: security headers on every answer, errors in one look, HEAD as GET."""

    max_body_bytes = 0
    is_told = False  # whether a line in the log says already what became of this request

    def prepare(self) -> Awaitable[None] | None:
        """Refuse a body that is longer than `max_body_bytes`; nothing has kept it."""
        if getattr(self.request, TOO_LARGE, False):
            method = str(self.request.method).lower()
            if getattr(type(self), method) is RequestHandler._unimplemented_method:
                raise HTTPError(405)
            self.refuse_body()
        return None

    def refuse_body(self) -> NoReturn:
        """413."""
        raise HTTPError(413)

    def set_default_headers(self) -> None:
        """Tornado's hook: called at the start, and again before an error page."""
        self.clear_header("Server")
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)
        if self.is_https and self.settings["hsts"] is not None:
            self.set_header("Strict-Transport-Security", self.settings["hsts"])

    def flush(self, include_footers: bool = False) -> "asyncio.Future[None]":
        """Tornado's own; when the server stops, the client is told that no other answer follows."""
        if self.settings["in_flight"].is_last and self.get_status() != 101:
            self.set_header("Connection", "close")
        return super().flush(include_footers)

    def get_login_url(self) -> str:
        """Where to log in, and to come back from if the address is not too long for that."""
        login = super().get_login_url()
        for back in (str(self.request.uri), self.request.path):
            target = f"{login}?{urlencode({'next': back})}"
            if LOCAL_PATH.fullmatch(back) and LOCAL_PATH.fullmatch(target):
                return target
        return f"{login}?"  # Tornado would add the address

    def redirect(self, url: str, permanent: bool = False, status: int | None = None) -> None:
        """Tornado's own, for paths of this server only."""
        if LOCAL_PATH.fullmatch(url) is None:
            raise ValueError("a redirect may not leave this server")
        super().redirect(url, permanent, status)

    def head(self, *args: str, **kwargs: str) -> Awaitable[None] | None:
        """As GET; Tornado leaves the body out."""
        return self.get(*args, **kwargs)

    def decode_argument(self, value: bytes, name: str | None = None) -> str:  # noqa: ARG002
        """Tornado's hook; its own writes a field that is no UTF-8, a password say, to the log."""
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise HTTPError(400, "a field is no UTF-8") from None

    def get_template_namespace(self) -> dict[str, Any]:
        """What every template may name."""
        return super().get_template_namespace() | {
            "endings": ENDINGS,
            "has_passwords": self.settings["has_passwords"],
            "flashes": self.flashes,
            "is_visitor_known": self.is_visitor_known,
            "words": words,
        }

    @property
    def is_https(self) -> bool:
        """Whether the browser has sent this over https, as far as the settings let us know."""
        return is_https(self.request, self.settings["session_manager"].trusted_proxies)

    @property
    def address(self) -> str:
        """Whose request it is, as far as the settings let us know."""
        return address_of(self.request, self.settings["session_manager"].trusted_proxies)

    @property
    def is_visitor_known(self) -> bool:
        """Whether anybody has looked who this is: only then a page offers login or logout."""
        return False

    def flashes(self) -> list[Flash]:
        """The messages to show."""
        return []

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Tornado's hook; one line for one refusal."""
        if self.is_told:
            return
        super().log_exception(typ, value, tb)
        self.is_told = isinstance(value, HTTPError) and value.log_message is not None

    def write_error(self, status_code: int, **_kwargs: Any) -> None:
        """A page in the look of all others, which says nothing about the inside."""
        if status_code == 405:
            self.set_header("Allow", ", ".join(self._allowed_methods()))
        title = HTTPStatus(status_code).phrase
        explanation = EXPLANATIONS.get(status_code, "The request could not be answered.")
        self.render("error.html", status=status_code, title=title, explanation=explanation)

    def _allowed_methods(self) -> list[str]:
        def is_there(method: str) -> bool:
            name = "get" if method == "HEAD" else method.lower()
            return getattr(type(self), name) is not RequestHandler._unimplemented_method

        return [method for method in self.SUPPORTED_METHODS if is_there(method)]


class BaseHandler(SessionMixin, PlainHandler):
    """A page with a session, whose forms are short."""

    max_body_bytes = 16 * 1024

    def set_default_headers(self) -> None:
        """What a session has to do with is nobody else's to keep."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    def compute_etag(self) -> str | None:
        """None: a page that may not be kept has not stayed the same."""
        return None

    async def _load_session(self) -> None:
        """Count the request as in flight, and refuse its body before anything is loaded."""
        self.settings["in_flight"].begin(self)
        PlainHandler.prepare(self)
        await super()._load_session()

    def _forbidden(self, reason: str) -> None:
        """The library's hook: an event in the log says that this request is from elsewhere."""
        super()._forbidden(reason)
        self.is_told = True

    def on_finish(self) -> None:
        """The response is complete."""
        self.settings["in_flight"].end(self)

    def get_template_namespace(self) -> dict[str, Any]:
        """The name of the visitor, besides."""
        return super().get_template_namespace() | {
            "name": isolated(self.username),
            "username": self.username,
        }

    @property
    def username(self) -> str:
        """The name that the visitor has logged in with, as a page can carry it; else ""."""
        if self._request_session is None:
            return ""
        return shown(str(self.session.get("username", "")))

    @property
    def is_visitor_known(self) -> bool:
        """Whether the session is loaded."""
        return self._request_session is not None

    def flashes(self) -> list[Flash]:
        """The messages to show. An error page leaves them for the next one, as does a HEAD."""
        if self.get_status() >= 400 or self.request.method == "HEAD":
            return []
        reason = self.session.ended_reason
        ending = [Flash("warning", ENDINGS[reason])] if reason and self.session.is_new else []
        return ending + self.session.flashes()


class NotFoundHandler(BaseHandler):
    """Every address that nobody else answers to; asks the store nothing, and reads no body."""

    max_body_bytes = 0

    async def _load_session(self) -> None:
        """404."""
        raise HTTPError(404)


class SafeStaticFileHandler(PlainHandler, StaticFileHandler):
    """The files of the pages."""

    is_routine = True

    def head(self, path: str) -> Awaitable[None]:  # type: ignore[override]
        """Tornado's own, which reads no file for it."""
        return StaticFileHandler.head(self, path)

    def parse_url_path(self, url_path: str) -> str:
        """A name of a file; there is none with NUL in it, and the icon is an SVG."""
        if "\0" in url_path:
            raise HTTPError(404)
        if url_path == "favicon.ico":
            return "icon.svg"
        return super().parse_url_path(url_path)


def isolated(text: str) -> str:
    """*text* so that its direction, from right to left say, does not spread to what is around."""
    is_other = any(unicodedata.bidirectional(one) in RIGHT_TO_LEFT for one in text)
    return f"\u2068{text}\u2069" if is_other else text


def shown(text: str) -> str:
    """*text* as a page can carry it: UTF-8 has no form for a lone surrogate."""
    return text.encode(errors="backslashreplace").decode()
