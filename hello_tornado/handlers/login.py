"""Login, by name alone or with a password, and logout."""

from http import HTTPStatus
from typing import Literal, TypeAlias

from tornado.web import HTTPError

from hello_tornado.accounts.accounts import Account, Accounts, Throttled, Wrong
from hello_tornado.accounts.passwords import PasswordsBusy
from hello_tornado.accounts.usernames import MAX_NAME, BadName, shown_name, user_id_of
from hello_tornado.config.durations import words
from hello_tornado.handlers.base import LOCAL_PATH, BaseHandler, shown
from hello_tornado.handlers.known_device import known_device, remember_device

# The part of the form that an error is about; the page marks it.
Wrongness: TypeAlias = Literal["username", "form"] | None

WRONG = "Wrong name or password."
BUSY = "Many people are logging in at this moment. Please try again."


class LoginHandler(BaseHandler):
    """GET and POST /user/login: any name is accepted, without a password."""

    asks_for_password = False

    def get(self) -> None:
        """Show the form."""
        target = local_path(self.get_query_argument("next", ""))
        known = self.username if self.asks_for_password else ""
        self._show_form(known, target, None)

    def post(self) -> None:
        """Log in: renew the id, store the name, and redirect to where the visitor wanted to go."""
        given, target = self._given()
        try:
            user_id, name = user_id_of(given), shown_name(given)
        except BadName as problem:
            self._refuse(given, target, HTTPStatus.BAD_REQUEST, str(problem), "username")
            return
        self._log_in(user_id, name)
        self._welcome(target)

    def _given(self) -> tuple[str, str]:
        name = self.decode_argument(raw_argument(self, "username"), "username")
        return name, local_path(self.get_body_argument("next", ""))

    @property
    def _is_to_be_remembered(self) -> bool:
        """Whether the box is checked; if not, the login lasts as long as the settings say."""
        return self.get_body_argument("remember", None) is not None

    def _log_in(self, user_id: str, name: str) -> None:
        self.session.login(user_id, remember=True if self._is_to_be_remembered else None)
        self.session["username"] = name

    def _welcome(self, target: str) -> None:
        self.redirect(target or "/", status=303)

    def _refuse(
        self, given: str, target: str, status: HTTPStatus, error: str, wrong: Wrongness
    ) -> None:
        self.set_status(status)
        self._show_form(given[:MAX_NAME], target, error, wrong)

    def _show_form(
        self, username: str, target: str, error: str | None, wrong: Wrongness = None
    ) -> None:
        self.render(
            "login.html",
            username=shown(username),
            next=target,
            error=error,
            wrong=wrong,
            asks_for_password=self.asks_for_password,
            remember=self._is_to_be_remembered,
        )


class PasswordLoginHandler(LoginHandler):
    """GET and POST /user/login: users have accounts."""

    asks_for_password = True

    def initialize(self, accounts: Accounts) -> None:
        """*accounts* has the users and their passwords."""
        self._accounts = accounts

    async def post(self) -> None:  # type: ignore[override]
        """Log the user in if the name and the password are right.

        The answer does not tell whether the name, the password or neither was right.
        """
        given, target = self._given()
        try:
            user_id_of(given)
        except BadName as problem:
            self._refuse(given, target, HTTPStatus.BAD_REQUEST, str(problem), "username")
            return
        match await self._answer(given):
            case Account() as account:
                self._log_in(account.user_id, account.name)
                await self.save_session()  # from now on, disabling the user ends this session
                if await self._accounts.is_unchanged(account):
                    remember_device(self, account)
                    self._welcome(target)
                else:  # disabled or changed while the password was checked
                    self.session.destroy()
                    self._refuse(given, target, HTTPStatus.FORBIDDEN, WRONG, "form")
            case Throttled(wait):
                self.set_header("Retry-After", int(wait.total_seconds()) + 1)
                error = f"Too many attempts. Please try again in {words(wait)}."
                self._refuse(given, target, HTTPStatus.TOO_MANY_REQUESTS, error, None)
            case Wrong():
                self._refuse(given, target, HTTPStatus.FORBIDDEN, WRONG, "form")
            case None:
                self._refuse(given, target, HTTPStatus.SERVICE_UNAVAILABLE, BUSY, None)

    async def _answer(self, name: str) -> Account | Throttled | Wrong | None:
        try:
            password, device = raw_argument(self, "password"), known_device(self)
            return await self._accounts.log_in(name, password, self.address, device)
        except PasswordsBusy:
            return None


class LogoutHandler(BaseHandler):
    """POST /user/logout"""

    def post(self) -> None:
        """End the session in the store, then clear the cookie."""
        self.session.destroy()
        # Not "cookies": that would also clear those of other programs on the same domain.
        self.set_header("Clear-Site-Data", '"cache", "storage"')
        self.redirect("/", status=303)


def raw_argument(handler: BaseHandler, name: str) -> bytes:
    """Return a field of the body unchanged; Tornado strips it and replaces control characters.

    Raises a 400 if the field was sent twice.
    """
    values = handler.request.body_arguments.get(name, [b""])
    if len(values) > 1:
        raise HTTPError(400, "a field was sent twice")
    return values[0]


def local_path(target: str) -> str:
    """Return *target* if it is a path on this server, else an empty text."""
    return target if LOCAL_PATH.fullmatch(target) else ""
