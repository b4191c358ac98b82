"""A login and a logout page for programs that have none of their own."""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias, cast
from urllib.parse import urlencode

from tornado.httputil import HTTPServerRequest
from tornado.template import Loader
from tornado.web import HTTPError, RequestHandler

from hello_tornado.sessions import options
from hello_tornado.sessions.errors import ConfigurationError, StoreUnavailable
from hello_tornado.sessions.events import EndedReason
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.web.door import SessionDoor

MayLogIn: TypeAlias = Callable[[str, str], str | Awaitable[str | None] | None]

TEMPLATE: Final = Path(__file__).with_suffix(".html")
# A path of this server: "//" and "/\" would lead to another one.
LOCAL_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,2000}")
NOT_CACHED: Final = {"Cache-Control": "no-store"}
HEADERS: Final = NOT_CACHED | {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
ENDED: Final[Mapping[EndedReason | None, str]] = {
    EndedReason.EXPIRED: "Your session has expired. Please log in again.",
    EndedReason.REVOKED: "You were signed out. Please log in again.",
}
OUT_OF_DATE: Final = "This form was out of date. Please try again."


class LoginPages:
    """The handlers of the two pages, and what they need.

    *door* opens the sessions, *may_log_in* is called with a name and a password, *login_url* is
    where the login page is, and *template* the path of a page in the place of ours.
    """

    def __init__(
        self,
        door: SessionDoor,
        may_log_in: MayLogIn,
        login_url: str,
        template: str | Path | None,
    ) -> None:
        path = TEMPLATE if template is None else Path(template)
        if not path.is_file():
            raise ConfigurationError(f"template={str(template)!r}: there is no such file")
        self.template = Loader(str(path.parent)).load(path.name)
        self.headers = HEADERS if template is None else NOT_CACHED
        self._door = door
        self._may_log_in = may_log_in
        self._login_url = login_url

    def bound(self, handler: type["PageHandler"]) -> type[RequestHandler]:
        """A *handler* that knows these pages, for programs that want a class and no arguments."""
        return type(handler.__name__, (handler,), {"pages": self})

    async def user_id_of(self, name: str, password: str) -> str | None:
        """The user who has this name and password, if any."""
        user_id = self._may_log_in(name, password)
        return await user_id if inspect.isawaitable(user_id) else user_id

    async def open(self, handler: RequestHandler) -> Session:
        """The session of a request; 503 while the store is down."""
        try:
            return await self._door.open(handler)
        except StoreUnavailable as error:
            raise HTTPError(503, "the session store is down: %s", error) from error

    async def save(self, handler: RequestHandler, session: Session) -> None:
        """Store what was done to the session; 503 while the store is down."""
        try:
            await self._door.save(handler, session)
        except StoreUnavailable as error:
            raise HTTPError(503, "the session store is down: %s", error) from error

    def address(self, handler: RequestHandler, *, back_to: str | None = None) -> str:
        """The address of the login page, as seen from the page of *handler*."""
        query = "" if back_to is None else f"?{urlencode({'next': back_to})}"
        return relative(handler.request, f"{_prefix_of(handler)}{self._login_url}{query}")


def is_check(name: str, given: Any) -> MayLogIn:
    """The check of an option: a function of two arguments, async or not."""
    try:
        inspect.signature(given).bind("name", "password")
    except (TypeError, ValueError):
        what = "a function of a name and a password, such as def may_log_in(name, password): ..."
        options.refuse(name, what, options.kind_of(given))
    return cast("MayLogIn", given)


class PageHandler(RequestHandler):
    """What both pages share."""

    pages: ClassVar[LoginPages]

    def set_default_headers(self) -> None:
        """No cache keeps these pages, and no other page frames them."""
        for name, value in self.pages.headers.items():
            self.set_header(name, value)

    def show(self, message: str = "", **names: Any) -> None:
        """Answer with the page."""
        namespace = {"user_id": None, "next": "/", "username": "", "message": message} | names
        self.finish(self.pages.template.generate(**self.get_template_namespace() | namespace))

    def is_from_here(self) -> bool:
        """Whether a page of ours has sent the form: with its token, and not from another site."""
        if self.request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
            return False
        try:
            self.check_xsrf_cookie()
        except HTTPError:
            return False
        return True

    def go_to(self, path: str) -> None:
        """Send the browser to a *path* of this server; an empty one is the first page."""
        self.redirect(relative(self.request, path or f"{_prefix_of(self)}/"), status=303)


class LoginHandler(PageHandler):
    """GET and POST of the login page."""

    async def get(self) -> None:
        """The form. A person who is logged in already goes on."""
        target = _local(self.get_query_argument("next", ""))
        session = await self.pages.open(self)
        if session.user_id is not None:
            self.go_to(target)
            return
        self.show(ENDED.get(session.ended_reason, ""), next=target)

    async def post(self) -> None:
        """Log in, under a new session id."""
        target = _local(self.get_body_argument("next", ""))
        name = self.get_body_argument("username", "")
        if not self.is_from_here():
            self.set_status(403)
            self.show(OUT_OF_DATE, next=target, username=name)
            return
        password = self.get_body_argument("password", "", strip=False)
        user_id = await self.pages.user_id_of(name, password)
        if user_id is None:
            self.set_status(403)
            self.show("Wrong name or password.", next=target, username=name)
            return
        session = await self.pages.open(self)
        session.login(user_id)
        await self.pages.save(self, session)
        self.go_to(target)


class LogoutHandler(PageHandler):
    """GET and POST of the logout page."""

    async def get(self) -> None:
        """Ask first: a link or an image on any page may lead here."""
        session = await self.pages.open(self)
        if session.user_id is None:
            self.redirect(self.pages.address(self), status=303)
        else:
            self.show(user_id=session.user_id)

    async def post(self) -> None:
        """End the session; with the field `everywhere`, all sessions of its user."""
        session = await self.pages.open(self)
        if not self.is_from_here():
            self.set_status(403)
            self.show(OUT_OF_DATE, user_id=session.user_id)
            return
        session.logout(everywhere=self.get_body_argument("everywhere", "") != "")
        await self.pages.save(self, session)
        self.redirect(self.pages.address(self), status=303)


def relative(request: HTTPServerRequest, path: str) -> str:
    """The address of a *path* of this server as seen from the page that was requested.

    A proxy in front may serve us below a path that we do not know.
    """
    ups = request.path.count("/") - 1
    return ("../" * ups or "./") + path.removeprefix("/")


def _prefix_of(handler: RequestHandler) -> str:
    """The path below which the program serves its pages; Bokeh has it as an attribute."""
    return str(getattr(handler.application, "prefix", ""))


def _local(target: str) -> str:
    """*target* if it is a path of this server, else nothing."""
    return target if LOCAL_PATH.fullmatch(target) else ""
