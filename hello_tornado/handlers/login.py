"""Logging in by name, and out again."""

import unicodedata
from typing import Final

from hello_tornado.handlers.base import LOCAL_PATH, BaseHandler

MAX_NAME: Final = 64
INVISIBLE: Final = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


class LoginHandler(BaseHandler):
    """GET and POST /user/login"""

    def get(self) -> None:
        """The form."""
        self._show_form("", local_path(self.get_query_argument("next", "")), None)

    def post(self) -> None:
        """Store the name in the session, under a new id, and go where the visitor wanted to go."""
        given = self.get_body_argument("username", "", strip=False)
        target = local_path(self.get_body_argument("next", ""))
        name = canonical_name(given)
        if (problem := problem_with(name)) is not None:
            self.set_status(400)
            self._show_form(name[:MAX_NAME], target, problem)
            return
        self.session.login(name)
        self.session["username"] = name
        self.redirect(target or "/", status=303)

    def _show_form(self, username: str, target: str, error: str | None) -> None:
        self.render("login.html", username=username, next=target, error=error)


class LogoutHandler(BaseHandler):
    """POST /user/logout"""

    def post(self) -> None:
        """End the session in the store, then clear the cookie."""
        self.session.destroy()
        # Not "cookies": that would also clear those of other programs on the same domain.
        self.set_header("Clear-Site-Data", '"cache", "storage"')
        self.redirect("/", status=303)


def local_path(target: str) -> str:
    """*target* if it is a path of this server, else nothing."""
    return target if LOCAL_PATH.fullmatch(target) else ""


def canonical_name(given: str) -> str:
    """The one form of a name: composed characters, single blanks, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", given).split())


def problem_with(name: str) -> str | None:
    """What is wrong with a canonical name, for the person who typed it."""
    if not name:
        return "Please enter a name."
    if len(name) > MAX_NAME:
        return f"Please enter a name of at most {MAX_NAME} characters; this one has {len(name)}."
    if any(unicodedata.category(character) in INVISIBLE for character in name):
        return "Please enter a name without control or invisible characters."
    return None
