"""What the server's pages of one's sessions ask for, when users have passwords."""

from typing import ClassVar

from hello_tornado.handlers.base import BaseHandler


class ConfirmingHandler(BaseHandler):
    """Before other sessions are ended, the login has to be fresh."""

    login_again: ClassVar[str] = "/user/login?next=%2Fuser%2Fsessions"

    async def may_end_sessions(self) -> bool:
        """Whether the login is fresh; else the password is asked for again."""
        if self.session.is_fresh(self.settings["fresh_for"]):
            return True
        self.session.flash("Please enter your password again before you sign out others.")
        self.redirect(self.login_again, status=303)
        return False
