"""Lets users change their password, which signs out all their other devices."""

from http import HTTPStatus

from tornado.web import authenticated

from hello_tornado.accounts.accounts import Account, Accounts, KnownDevice, Throttled, Wrong
from hello_tornado.accounts.passwords import PasswordsBusy
from hello_tornado.config.durations import words
from hello_tornado.handlers.base import BaseHandler
from hello_tornado.handlers.known_device import remember_device
from hello_tornado.handlers.login import BUSY, raw_argument

WRONG = "This is not your current password."


class PasswordHandler(BaseHandler):
    """GET and POST /user/password"""

    def initialize(self, accounts: Accounts) -> None:
        """*accounts* has the users and their passwords."""
        self._accounts = accounts

    @authenticated
    def get(self) -> None:
        """Show the form."""
        self._show_form({})

    @authenticated
    async def post(self) -> None:
        """Change the password, if the current one is right."""
        try:
            await self._change(raw_argument(self, "current"), raw_argument(self, "new"))
        except PasswordsBusy:
            self.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
            self._show_form({"new": BUSY})

    async def _change(self, current: bytes, new: bytes) -> None:
        user_id = str(self.session.user_id)
        # The session proves that the password was known here: guesses from elsewhere do not count.
        device = KnownDevice(str(self.session.handle))
        match await self._accounts.log_in(user_id, current, self.address, device):
            case Account() as account:
                problem = await self._accounts.passwords.problem_with(new, account.name)
                if problem is not None:
                    self.set_status(HTTPStatus.BAD_REQUEST)
                    self._show_form({"new": problem})
                    return
                if (changed := await self._accounts.set_password(account, new)) is not None:
                    remember_device(self, changed)
                    await self._sign_out_others(user_id)
                else:
                    self.session.flash("Your password was just changed elsewhere.", "warning")
                self.redirect("/user/sessions", status=303)
            case Throttled(wait):
                self.set_header("Retry-After", int(wait.total_seconds()) + 1)
                self.set_status(HTTPStatus.TOO_MANY_REQUESTS)
                self._show_form({"current": f"Please try again in {words(wait)}."})
            case Wrong():
                self.set_status(HTTPStatus.FORBIDDEN)
                self._show_form({"current": WRONG})

    async def _sign_out_others(self, user_id: str) -> None:
        self.session.login(user_id)
        self.session.flash("Your password is changed, and all other devices are signed out.")
        await self.save_session()
        await self.session_manager.revoke_user(user_id, keep=self.session)

    def _show_form(self, errors: dict[str, str]) -> None:
        self.render("password.html", errors=errors)
