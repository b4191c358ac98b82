"""The login and the logout page of jupyter-server and Voilà."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol, cast

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.auth.login import LoginFormHandler
from tornado.template import Template
from tornado.web import RequestHandler

from hello_tornado.sessions.events import EndedReason
from hello_tornado.sessions.integrations.login_pages import ENDED

PAGE: Final = Path(__file__).with_suffix(".html")


class Logins(Protocol):
    """What the pages need of the identity provider."""

    may_log_in: Any
    token: Any

    async def log_in_by_form(self, handler: RequestHandler) -> bool:
        """Log in by the fields of a form; whether they are right."""

    async def log_out(self, handler: RequestHandler, *, everywhere: bool = False) -> None:
        """End the session, or all of its user."""

    async def ended_reason(self, handler: RequestHandler) -> EndedReason | None:
        """Why the last session of the browser has ended."""


class PageHandler(LoginFormHandler):
    """What both pages share."""

    @property
    def logins(self) -> Logins:
        """The identity provider that has made the route."""
        return cast("Logins", self.identity_provider)

    @property
    def needs_name(self) -> bool:
        """Whether people log in with a name, not with the password of the server."""
        return self.logins.may_log_in is not None

    def show(self, *, logs_in: bool, message: str = "") -> None:
        """Answer with the page."""
        self.set_header("Cache-Control", "no-store")
        page = _template().generate(
            logs_in=logs_in,
            message=message,
            needs_name=self.needs_name,
            takes_token=not self.needs_name and bool(self.logins.token),
            username=self.get_body_argument("username", ""),
            user=self.current_user,
            xsrf_form_html=self.xsrf_form_html,
        )
        self.finish(page)

    def go_on(self) -> None:
        """Send the browser to `next`, if that is a page of this server, else to its first page."""
        self._redirect_safe(self.get_argument("next", self.base_url))  # type: ignore[no-untyped-call]


class LoginHandler(PageHandler):
    """GET and POST of the login page."""

    @allow_unauthenticated
    async def get(self) -> None:
        """Show the form. A person who is logged in already goes on."""
        if self.current_user:
            self.go_on()
            return
        reason = await self.logins.ended_reason(self)
        self.show(logs_in=True, message=ENDED.get(reason, ""))

    @allow_unauthenticated
    async def post(self) -> None:
        """Log in, under a new session id."""
        if await self.logins.log_in_by_form(self):
            self.go_on()
            return
        self.set_status(401)
        wrong = "Wrong name or password." if self.needs_name else "Wrong password."
        self.show(logs_in=True, message=wrong)


class LogoutHandler(PageHandler):
    """GET and POST of the logout page."""

    @allow_unauthenticated
    async def get(self) -> None:
        """Ask first: a link on any page may lead here."""
        if self.current_user:
            self.show(logs_in=False)
        else:
            self.redirect(self.get_login_url())

    @allow_unauthenticated
    async def post(self) -> None:
        """End the session; with the field `everywhere`, all sessions of its user."""
        everywhere = self.get_body_argument("everywhere", "") != ""
        await self.logins.log_out(self, everywhere=everywhere)
        self.redirect(self.get_login_url(), status=303)


@lru_cache(maxsize=1)
def _template() -> Template:
    return Template(PAGE.read_text(encoding="utf-8"), autoescape="xhtml_escape")
