"""The library's pages of a user's sessions, for users who have passwords."""

from typing import ClassVar

from hello_tornado.handlers.base import BaseHandler


class ConfirmingHandler(BaseHandler):
    """Asks for the password again before other sessions are ended, unless the login is fresh."""

    login_again: ClassVar[str] = "/user/login?next=%2Fuser%2Fsessions"

    async def may_end_sessions(self) -> bool:
        """Whether the login is fresh; if not, redirect to the login page."""
        if self.session.is_fresh(self.settings["fresh_for"]):
            return True
        self.session.flash("Please enter your password again before you sign out other devices.")
        self.redirect(self.login_again, status=303)
        return False
