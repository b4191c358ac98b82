"""Pages on which users see and end their sessions on all devices, for any application."""

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
    """The base class of the account pages. They require a user who is logged in."""

    def initialize(self, prefix: str, template: str | None) -> None:
        """Set the prefix of all paths and the application's own template, if any."""
        self.prefix = prefix
        self.template = template

    async def may_end_sessions(self) -> bool:
        """Return whether sessions may be ended now (True); called before a session is ended.

        Override it to ask for the password again. If it returns False, it must have answered the
        request, for example by a redirect to a login page.
        """
        return True

    @property
    def user_id(self) -> str:
        """The id of the user who is logged in. Raises a 403 if no user is."""
        user_id = self.session.user_id
        if user_id is None:
            raise HTTPError(403)
        return user_id


class DevicesHandler(AccountHandler):
    """GET PREFIX/sessions"""

    @authenticated
    async def get(self) -> None:
        """List the user's sessions, this device first, then by last use; `?page=2` is the next."""
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
    """A form of the account pages; requests from other sites are refused."""

    async def prepare(self) -> None:
        """Check the origin, even if the application's settings do not require it."""
        self.refuse_other_origins()
        await super().prepare()


class RevokeHandler(AccountForm):
    """POST PREFIX/sessions/HANDLE/revoke"""

    @authenticated
    async def post(self, handle: str) -> None:
        """End a session of the user; ending the current one is a logout."""
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
        """End all sessions of the user except this one."""
        if not await self.may_end_sessions():
            return
        count = await self.session_manager.revoke_user(self.user_id, keep=self.session)
        told = {0: "There was no other device.", 1: "Signed out on one other device."}
        self.session.flash(told.get(count, f"Signed out on {count} other devices."), "success")
        self.redirect(f"{self.prefix}/sessions", status=303)


def ago(duration: timedelta) -> str:
    """Return a text such as "3 hours ago"."""
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
    """Return routes to pages on which users see their sessions and end one or all others.

    Visitors who are not logged in are redirected to the application's `login_url`.

    Args:
        prefix: The beginning of the paths ("/account").
        base: A handler class of the application (None). The pages are derived from it, and its
            methods override theirs: `prepare()`, headers, error pages, or `may_end_sessions()`.
        template: The name of the application's own template (None). It gets `sessions` (those of
            one page), `count` (of all), `page`, `pages`, `this_handle`, `prefix`, and the functions
            `ago` and `exact` for datetimes, like `devices.html` in this package.

    Raises:
        ConfigurationError: An argument is invalid.

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
