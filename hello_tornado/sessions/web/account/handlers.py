"""A person's sessions on all devices, to look at and to end: pages for any application."""

import re
from base64 import b64encode
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tornado.routing import URLSpec
from tornado.template import Loader
from tornado.web import HTTPError, RequestHandler, authenticated, url

from hello_tornado.sessions import options
from hello_tornado.sessions.records.lifetimes import datetime_of
from hello_tornado.sessions.web.mixin import SessionMixin

SHOWN: Final = 20  # sessions on a page
PAGES: Final = Loader(str(Path(__file__).parent))
STYLE: Final = Path(__file__).with_name("devices.css").read_text(encoding="utf-8")
_HASH: Final = b64encode(sha256(STYLE.encode()).digest()).decode()
ONLY_FORMS: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60))


class AccountHandler(SessionMixin, RequestHandler):
    """What the pages of a person's account share. Somebody has to be logged in."""

    def initialize(self, prefix: str, template: str | None) -> None:
        """*prefix* begins every address; *template* is the application's own page."""
        self.prefix = prefix
        self.template = template

    async def may_end_sessions(self) -> bool:
        """Called before a session is ended, for an application that asks for the password again.

        Who returns False has answered the request: has redirected to a login, say.
        """
        return True

    @property
    def user_id(self) -> str:
        """Whose sessions these are."""
        user_id = self.session.user_id
        if user_id is None:
            raise HTTPError(403)
        return user_id


class DevicesHandler(AccountHandler):
    """GET PREFIX/sessions"""

    @authenticated
    async def get(self) -> None:
        """This person's sessions, this device's first, then those used last; `?page=2` goes on."""
        found = await self.session_manager.facts_of(self.user_id)
        mine = self.session.handle
        listed = sorted(found, key=lambda one: (one.handle != mine, -one.accessed_at))
        pages = max(1, -(-len(listed) // SHOWN))
        asked = self.get_query_argument("page", "1")
        page_number = min(int(asked), pages) if re.fullmatch("[1-9][0-9]{0,5}", asked) else 1
        start = (page_number - 1) * SHOWN
        shown = listed[start : start + SHOWN]
        now = datetime_of(self.session_manager.now())
        namespace = {
            "sessions": [one async for one in self.session_manager.read(shown)],
            "count": len(listed),
            "page": page_number,
            "pages": pages,
            "this_handle": mine,
            "prefix": self.prefix,
            "ago": lambda moment: ago(now - moment),
            "exact": lambda moment: moment.strftime("%d %B %Y, %H:%M:%S %Z"),
        }
        self.set_header("Cache-Control", "no-store")
        if self.template is not None:
            self.render(self.template, **namespace)
            return
        self.set_header("Content-Security-Policy", ONLY_FORMS)
        everywhere: dict[str, Any] = self.get_template_namespace()
        page = PAGES.load("devices.html")
        namespace |= {"flashes": self.session.flashes(), "style": STYLE}
        self.finish(page.generate(**everywhere | namespace))


class AccountForm(AccountHandler):
    """A form of the account pages: refused when another site has sent it."""

    async def prepare(self) -> None:
        """Check the origin, which the application's settings may not ask for."""
        self.refuse_other_origins()
        await super().prepare()


class RevokeHandler(AccountForm):
    """POST PREFIX/sessions/HANDLE/revoke"""

    @authenticated
    async def post(self, handle: str) -> None:
        """End one session of this person; one's own is a logout."""
        mine = await self.session_manager.facts_of(self.user_id)
        named = [one for one in mine if one.handle == handle]
        sessions = [one async for one in self.session_manager.read(named)]
        if not sessions:
            raise HTTPError(404)
        if handle == self.session.handle:
            self.session.destroy()
        elif await self.may_end_sessions():
            await self.session_manager.revoke(handle, user_id=self.user_id)
            where = sessions[0].device or "the other device"
            self.session.flash(f"Signed out: {where}.", "success")
        else:
            return
        self.redirect(f"{self.prefix}/sessions", status=303)


class RevokeOthersHandler(AccountForm):
    """POST PREFIX/sessions/revoke-others"""

    @authenticated
    async def post(self) -> None:
        """End all sessions of this person but this one."""
        if not await self.may_end_sessions():
            return
        count = await self.session_manager.revoke_user(self.user_id, keep=self.session)
        told = {0: "There was no other device.", 1: "Signed out on one other device."}
        self.session.flash(told.get(count, f"Signed out on {count} other devices."), "success")
        self.redirect(f"{self.prefix}/sessions", status=303)


def ago(duration: timedelta) -> str:
    """How long ago something was, as a person says it: "3 hours ago"."""
    seconds = int(duration.total_seconds())
    for unit, length in UNITS:
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' * (count > 1)} ago"
    return "just now"


@options.checked(
    prefix=options.text(
        re.compile(r"(/[A-Za-z0-9._~-]+)*"), 'a path that begins with "/", such as /account'
    ),
    base=options.optional(options.subclass_of(RequestHandler, "BaseHandler")),
    template=options.optional(options.text(re.compile(r".+"), "the name of a template")),
)
def account_routes(
    prefix: str = "/account",
    *,
    base: type[RequestHandler] | None = None,
    template: str | None = None,
) -> list[URLSpec]:
    """Routes for an application: see one's sessions, end one, end all others.

    With *base* the pages are built on a handler of yours, whose methods win: its `prepare()`,
    headers, error pages, or `may_end_sessions()`. With *template* they have your look; it gets
    `sessions` (those of one page), `count` (of all), `page`, `pages`, `this_handle`, `prefix`, and
    the functions `ago` and `exact` for moments, as `devices.html` in this package does. Visitors
    who are not logged in are sent to the application's `login_url`.
    """
    options = {"prefix": prefix, "template": template}
    routes: dict[str, type[RequestHandler]] = {
        "sessions": DevicesHandler,
        "sessions/revoke-others": RevokeOthersHandler,
        "sessions/([A-Za-z0-9_-]{1,64})/revoke": RevokeHandler,
    }
    if base is not None:
        routes = {
            pattern: type(handler.__name__, (base, handler), {})
            for pattern, handler in routes.items()
        }
    return [url(f"{prefix}/{pattern}", handler, options) for pattern, handler in routes.items()]
