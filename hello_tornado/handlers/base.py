"""What all pages share: sessions, names for templates, headers and error pages."""

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
# A path on this server: one slash, then printable ASCII. "//" and "/\\" would name another server.
# Encoded control characters are refused.
LOCAL_PATH: Final = re.compile(
    r"/(?![/\\])(?!.*%(?:[01][0-9a-f]|7f))[\x21-\x5b\x5d-\x7e]{0,2000}", re.IGNORECASE
)
RIGHT_TO_LEFT: Final = {"R", "AL", "AN"}
EXPLANATIONS: Final = {
    400: "The request could not be understood.",
    403: "You are not allowed to do this from here.",
    404: "There is nothing at this address.",
    405: "There is nothing to see here: this address only accepts a form.",
    413: "The request is larger than this page accepts. Nothing was changed.",
    429: "There were too many requests from your network. Please try again in a minute.",
    500: "Something went wrong on our side. The error has been logged.",
    503: "We cannot reach your data at the moment. Nothing was changed; please try again soon.",
}
ENDINGS: Final = {
    "expired": "You were signed out because your session had expired.",
    "logged_out": "You have signed out.",
    "revoked": "You were signed out from another device.",
    "ended": "Your session has ended.",
}


class PlainHandler(RequestHandler):
    """A handler without a session: it sends security headers and error pages, and handles HEAD."""

    max_body_bytes = 0
    is_told = False  # whether the log has a line about this request already

    def prepare(self) -> Awaitable[None] | None:
        """Refuse a request whose body exceeds `max_body_bytes`; the body was discarded."""
        if getattr(self.request, TOO_LARGE, False):
            method = str(self.request.method).lower()
            if getattr(type(self), method) is RequestHandler._unimplemented_method:
                raise HTTPError(405)
            self.refuse_body()
        return None

    def refuse_body(self) -> NoReturn:
        """Answer with a 413."""
        raise HTTPError(413)

    def set_default_headers(self) -> None:
        """Tornado's hook: called at the start, and again before an error page."""
        self.clear_header("Server")
        for name, value in SECURITY_HEADERS.items():
            self.set_header(name, value)
        if self.is_https and self.settings["hsts"] is not None:
            self.set_header("Strict-Transport-Security", self.settings["hsts"])

    def flush(self, include_footers: bool = False) -> "asyncio.Future[None]":
        """Tornado's method; when the server stops, it also says that the connection is closed."""
        if self.settings["in_flight"].is_last and self.get_status() != 101:
            self.set_header("Connection", "close")
        return super().flush(include_footers)

    def get_login_url(self) -> str:
        """Return the URL of the login page, which leads back here unless the URL is too long."""
        login = super().get_login_url()
        for back in (str(self.request.uri), self.request.path):
            target = f"{login}?{urlencode({'next': back})}"
            if LOCAL_PATH.fullmatch(back) and LOCAL_PATH.fullmatch(target):
                return target
        return f"{login}?"  # Tornado would add the address

    def redirect(self, url: str, permanent: bool = False, status: int | None = None) -> None:
        """Tornado's method, but only for paths on this server; others raise `ValueError`."""
        if LOCAL_PATH.fullmatch(url) is None:
            raise ValueError("a redirect may not leave this server")
        super().redirect(url, permanent, status)

    def head(self, *args: str, **kwargs: str) -> Awaitable[None] | None:
        """Do the same as GET; Tornado omits the body."""
        return self.get(*args, **kwargs)

    def decode_argument(self, value: bytes, name: str | None = None) -> str:  # noqa: ARG002
        """Tornado's hook; the original logs a field that is not UTF-8, even if it is a password."""
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise HTTPError(400, "a field is not UTF-8") from None

    def get_template_namespace(self) -> dict[str, Any]:
        """Return the names that every template can use."""
        return super().get_template_namespace() | {
            "endings": ENDINGS,
            "has_passwords": self.settings["has_passwords"],
            "flashes": self.flashes,
            "is_visitor_known": self.is_visitor_known,
            "words": words,
        }

    @property
    def is_https(self) -> bool:
        """Whether the browser has sent this over https, by what trusted proxies say."""
        return is_https(self.request, self.settings["session_manager"].trusted_proxies)

    @property
    def address(self) -> str:
        """The client's address, by what trusted proxies say."""
        return address_of(self.request, self.settings["session_manager"].trusted_proxies)

    @property
    def is_visitor_known(self) -> bool:
        """Whether the session has been loaded; only then does a page offer login or logout."""
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
        """Tornado's hook; a refusal is logged only once."""
        if self.is_told:
            return
        super().log_exception(typ, value, tb)
        self.is_told = isinstance(value, HTTPError) and value.log_message is not None

    def write_error(self, status_code: int, **_kwargs: Any) -> None:
        """Render an error page, which shows no internals."""
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
    """A page with a session and with short forms."""

    max_body_bytes = 16 * 1024

    def set_default_headers(self) -> None:
        """Tornado's hook: tell caches not to store pages that depend on a session."""
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    def compute_etag(self) -> str | None:
        """Return None: a page that must not be stored needs no ETag."""
        return None

    async def _load_session(self) -> None:
        """Count the request as in flight, and refuse a long body before the session is loaded."""
        self.settings["in_flight"].begin(self)
        PlainHandler.prepare(self)
        await super()._load_session()

    def _forbidden(self, reason: str) -> None:
        """The library's hook: it has logged an event about this cross-site request."""
        super()._forbidden(reason)
        self.is_told = True

    def on_finish(self) -> None:
        """Tornado's hook: the response is complete."""
        self.settings["in_flight"].end(self)

    def get_template_namespace(self) -> dict[str, Any]:
        """Add the name of the visitor."""
        return super().get_template_namespace() | {
            "name": isolated(self.username),
            "username": self.username,
        }

    @property
    def username(self) -> str:
        """The name with which the visitor has logged in, as `shown` returns it; else ""."""
        if self._request_session is None:
            return ""
        return shown(str(self.session.get("username", "")))

    @property
    def is_visitor_known(self) -> bool:
        """Whether the session is loaded."""
        return self._request_session is not None

    def flashes(self) -> list[Flash]:
        """The messages to show. Error pages and HEAD leave them for the next page."""
        if self.get_status() >= 400 or self.request.method == "HEAD":
            return []
        reason = self.session.ended_reason
        ending = [Flash("warning", ENDINGS[reason])] if reason and self.session.is_new else []
        return ending + self.session.flashes()


class NotFoundHandler(BaseHandler):
    """Answers all other addresses with a 404, without the store and without reading a body."""

    max_body_bytes = 0

    async def _load_session(self) -> None:
        """Answer with a 404."""
        raise HTTPError(404)


class SafeStaticFileHandler(PlainHandler, StaticFileHandler):
    """Serves the static files of the pages."""

    is_routine = True

    def head(self, path: str) -> Awaitable[None]:  # type: ignore[override]
        """Tornado's method, which does not read the file."""
        return StaticFileHandler.head(self, path)

    def parse_url_path(self, url_path: str) -> str:
        """Return the name of a file. No name has a NUL, and favicon.ico is icon.svg."""
        if "\0" in url_path:
            raise HTTPError(404)
        if url_path == "favicon.ico":
            return "icon.svg"
        return super().parse_url_path(url_path)


def isolated(text: str) -> str:
    """Isolate *text*, so that right-to-left characters in it do not reorder the text around it."""
    is_other = any(unicodedata.bidirectional(one) in RIGHT_TO_LEFT for one in text)
    return f"\u2068{text}\u2069" if is_other else text


def shown(text: str) -> str:
    """Escape lone surrogates in *text*, because a page cannot contain them: UTF-8 has none."""
    return text.encode(errors="backslashreplace").decode()
