"""The server when users have passwords."""

import re
from typing import Any
from urllib.parse import quote

from argon2 import PasswordHasher
from tornado.httpclient import HTTPResponse
from visiting import Visits

from hello_tornado.accounts.accounts import Account, Accounts, Wrong
from hello_tornado.accounts.passwords import Passwords, PasswordsBusy
from hello_tornado.accounts.tables import metadata
from hello_tornado.remote_sign_out import SignedOut
from hello_tornado.sessions.stores.sql.database import SqlDatabase

SECRET = "correct horse battery staple"
OTHER = "a tin of blue paint and a ladder"


class WithPasswords(Visits):
    def make_accounts(self) -> Accounts:
        database = SqlDatabase.from_url(f"sqlite:///{self.directory}/accounts.db", metadata)
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        return Accounts(database, Passwords(cheap), self.clock)

    def setUp(self) -> None:
        super().setUp()
        assert isinstance(self.accounts, Accounts)
        for name in ("Ada", "Bob"):
            self.run_now(self.accounts.add(name, SECRET.encode()))

    def run_now(self, awaitable: Any) -> Any:
        async def run() -> Any:
            return await awaitable

        return self.io_loop.run_sync(run)

    def enter(self, name: str = "Ada", password: str = SECRET, **form: str) -> HTTPResponse:
        return self.visit("/user/login", "POST", {"username": name, "password": password, **form})

    def another_device(self, name: str = "Ada") -> str:
        mine, self.cookie = self.cookie, None
        self.enter(name)
        theirs, self.cookie = self.cookie, mine
        assert theirs is not None
        return theirs

    def is_logged_in(self, cookie: str | None) -> bool:
        mine = self.cookie
        page = self.visit("/", Cookie=cookie or "").body
        self.cookie = mine
        return b"Log out" in page


class TestLogin(WithPasswords):
    def test_the_form_asks_for_both(self) -> None:
        page = self.page("/user/login")
        assert re.search(r'<input[^>]*name="username"[^>]*autocomplete="username"', page)
        assert re.search(r'name="password" type="password" autocomplete="current-password"', page)
        assert "Any name will do" not in page

    def test_the_right_password_logs_in_however_the_name_is_written(self) -> None:
        response = self.enter(" ADA ", next="/user/sessions")
        assert (response.code, response.headers["Location"]) == (303, "/user/sessions")
        assert "<h1>Hello Ada</h1>" in self.page()
        assert self.rows("ada") == 1

    def test_an_error_marks_what_is_wrong(self) -> None:
        """A wrong name and a wrong password are one mistake; too many attempts are none."""
        wrong = self.enter(password="wrong").body.decode()
        assert 'aria-describedby="form-error"' in wrong
        assert "Wrong name or password." in wrong
        for _ in range(5):
            late = self.enter(password="wrong")
        assert late.code == 429
        text = late.body.decode()
        assert "Too many attempts" in text
        assert 'aria-describedby="form-error"' not in text
        assert "aria-invalid" not in wrong + text

    def test_a_known_device_gets_in_while_its_account_is_attacked(self) -> None:
        assert self.accounts is not None
        self.enter()
        assert self.device is not None
        for n in range(100):
            wrong = self.accounts.log_in("Ada", b"wrong", f"198.51.100.{n}")
            assert self.run_now(wrong) == Wrong()
        self.cookie = None
        assert self.enter().code == 429, "a new device"
        for device, name, code in (
            (self.device, "Ada", 303),
            (self.device[:-1], "Ada", 429),
            (self.device, "Bob", 303),  # whose account nobody attacks
        ):
            form = {"username": name, "password": SECRET}
            answer = self.visit("/user/login", "POST", form, Cookie=device)
            assert answer.code == code, (device, name)

    def test_every_wrong_login_gets_the_same_answer_and_no_row(self) -> None:
        assert self.accounts is not None
        self.run_now(self.accounts.add("Cora", SECRET.encode()))
        self.run_now(self.accounts.disable("cora"))
        answers = set()
        for name, password in (("Ada", "wrong"), ("Zoe", SECRET), ("Cora", SECRET), ("Ada", "")):
            response = self.enter(name, password)
            assert response.code == 403
            assert "Set-Cookie" not in response.headers
            answers.add(response.body.decode().replace(name, "NAME"))
        assert len(answers) == 1
        assert self.store._store._records == {}

    def test_a_name_that_is_none_is_said_clearly(self) -> None:
        for name in ("", "x" * 10_000, "a\0b", "\u202eevil"):
            response = self.enter(name)
            assert response.code == 400
            assert b"Please enter a name" in response.body

    def test_guessing_is_slowed_down_and_says_for_how_long(self) -> None:
        for _ in range(5):
            assert self.enter("Ada", "wrong").code == 403
        response = self.enter()
        assert response.code == 429
        assert response.headers["Retry-After"] == "61"
        assert b"Too many attempts. Please try again in 1 minute." in response.body
        self.clock.advance(minutes=2)
        assert self.enter().code == 303

    def test_a_password_in_the_address_is_none(self) -> None:
        query = f"username=Ada&password={quote(SECRET)}"
        assert self.visit(f"/user/login?{query}", "POST").code == 400
        assert (
            self.visit(f"/user/login?password={quote(SECRET)}", "POST", {"username": "Ada"}).code
            == 403
        )

    def test_a_crowd_is_asked_to_come_back(self) -> None:
        assert self.accounts is not None

        async def crowded(*_: Any) -> bool:
            raise PasswordsBusy

        self.accounts.passwords.match = crowded  # type: ignore[method-assign]
        response = self.enter()
        assert response.code == 503
        assert b"Many people are logging in" in response.body

    def test_no_password_and_no_hash_is_logged(self) -> None:
        self.caplog.set_level("DEBUG")
        self.enter()
        self.enter("Ada", "wrong-but-secret")
        body = b"username=Ada&password=secret%ff"
        self.visit("/user/login", "POST", body=body)
        for secret in (SECRET, quote(SECRET), "wrong-but-secret", "argon2id", "secret%ff"):
            assert secret not in self.caplog.text

    def test_who_is_disabled_while_they_log_in_stays_out(self) -> None:
        accounts = self.accounts
        assert accounts is not None
        log_in = accounts.log_in

        async def disabled_meanwhile(*args: Any) -> Any:
            account = await log_in(*args)
            await accounts.disable("ada")
            await self.manager.revoke_user("ada")
            return account

        accounts.log_in = disabled_meanwhile  # type: ignore[method-assign]
        self.enter()
        assert not self.is_logged_in(self.cookie)
        assert self.run_now(self.manager.sessions_of("ada")) == []

    def test_there_is_no_login_by_name_alone(self) -> None:
        assert self.log_in("Ada").code == 403
        assert not self.is_logged_in(self.cookie)


class TestChangingThePassword(WithPasswords):
    def change(self, current: str = SECRET, new: str = OTHER) -> HTTPResponse:
        return self.visit("/user/password", "POST", {"current": current, "new": new})

    def test_it_signs_out_the_other_devices_and_renews_this_one(self) -> None:
        self.enter()
        theirs, bob = self.another_device(), self.another_device("Bob")
        before = self.cookie
        response = self.change()
        assert (response.code, response.headers["Location"]) == (303, "/user/sessions")
        assert "Your password is changed" in self.page("/user/sessions")
        assert self.cookie != before
        assert not self.is_logged_in(before)
        assert not self.is_logged_in(theirs)
        assert self.is_logged_in(bob)
        self.cookie = None
        assert self.enter("Ada", SECRET).code == 403
        assert self.enter("Ada", OTHER).code == 303

    def test_it_takes_the_current_one(self) -> None:
        self.enter()
        theirs = self.another_device()
        response = self.change(current="wrong")
        assert response.code == 403
        assert b"This is not your current password." in response.body
        for _ in range(5):
            response = self.change(current="wrong")
        assert response.code == 429
        assert int(response.headers["Retry-After"]) > 0
        assert self.is_logged_in(theirs)

    def test_another_password_makes_other_devices_unknown_and_not_this_one(self) -> None:
        assert self.accounts is not None
        self.enter()
        elsewhere, self.device = self.device, None
        self.change()
        here = self.device
        assert here is not None
        for n in range(100):
            self.run_now(self.accounts.log_in("Ada", b"wrong", f"198.51.100.{n}"))
        form = {"username": "Ada", "password": OTHER}
        answers = [
            self.visit("/user/login", "POST", form, Cookie=device).code
            for device in (elsewhere, here)
            if device is not None
        ]
        assert answers == [429, 303]

    def test_a_weak_one_is_refused_and_changes_nothing(self) -> None:
        self.enter()
        for new, why in (("short", b"at least 8"), ("password1", b"too easy"), ("", b"at least 8")):
            response = self.change(new=new)
            assert response.code == 400
            assert why in response.body
        assert self.change().code == 303

    def test_one_of_two_changes_side_by_side_is_told(self) -> None:
        self.enter()
        accounts = self.accounts
        assert accounts is not None
        set_password = accounts.set_password

        async def late(account: Account, password: bytes) -> bool:
            await set_password(account, b"somebody was faster than we are")
            return await set_password(account, password)

        accounts.set_password = late  # type: ignore[method-assign]
        self.change()
        assert "was just changed elsewhere" in self.page("/user/sessions")

    def test_who_is_not_logged_in_changes_nothing(self) -> None:
        assert self.visit("/user/password").code == 302
        assert self.change().code == 403

    def test_the_page_has_what_password_managers_look_for(self) -> None:
        self.enter()
        page = self.page("/user/password")
        for word in ("username", "current-password", "new-password"):
            assert f'autocomplete="{word}"' in page
        assert 'href="/user/password"' in self.page("/user/sessions")


class TestAnOldLogin(WithPasswords):
    def test_the_password_is_asked_for_again_before_others_are_signed_out(self) -> None:
        self.enter()
        theirs = self.another_device()
        self.clock.advance(minutes=11)
        page = self.page("/user/sessions")
        (one,) = re.findall(r'action="(/user/sessions/[^"]+/revoke)"', page)
        for path in (one, "/user/sessions/revoke-others"):
            response = self.visit(path, "POST")
            assert (response.code, response.headers["Location"]) == (
                303,
                "/user/login?next=%2Fuser%2Fsessions",
            )
            assert self.is_logged_in(theirs)
        login = self.page("/user/login?next=%2Fuser%2Fsessions")
        assert "Please enter your password again" in login
        assert 'value="Ada"' in login
        response = self.enter(next="/user/sessions")
        assert response.headers["Location"] == "/user/sessions"
        self.visit("/user/sessions/revoke-others", "POST")
        assert not self.is_logged_in(theirs)
        assert self.is_logged_in(self.cookie)

    def test_ones_own_logout_asks_nothing(self) -> None:
        self.enter()
        self.clock.advance(minutes=11)
        self.visit("/user/logout", "POST")
        assert not self.is_logged_in(self.cookie)


class TestAServerWithItsOwnMemory(WithPasswords):
    def test_a_user_who_was_signed_out_by_a_command_is_signed_out_here(self) -> None:
        self.enter()
        theirs, bob = self.another_device(), self.another_device("Bob")
        assert self.accounts is not None
        looking = SignedOut(self.accounts, self.manager)
        self.run_now(looking.look())
        assert self.is_logged_in(theirs)
        self.clock.advance(seconds=1)
        self.run_now(self.accounts.disable("ada"))
        self.run_now(self.accounts.sign_out("ada"))
        self.run_now(looking.look())
        assert not self.is_logged_in(theirs)
        assert not self.is_logged_in(self.cookie)
        assert self.is_logged_in(bob)

    def test_who_logs_in_afterwards_stays(self) -> None:
        assert self.accounts is not None
        self.run_now(self.accounts.sign_out("ada"))
        self.clock.advance(seconds=1)
        self.enter()
        looking = SignedOut(self.accounts, self.manager)
        self.run_now(looking.look())
        assert self.is_logged_in(self.cookie)


class TestOpen(Visits):
    def test_without_accounts_there_is_no_password_to_change(self) -> None:
        self.log_in()
        assert self.visit("/user/password").code == 404
        assert "password" not in self.page("/user/sessions")
        self.clock.advance(minutes=30)
        assert self.visit("/user/sessions/revoke-others", "POST").code == 303
        assert "There was no other device." in self.page("/user/sessions")

    def test_a_name_is_one_person_however_it_is_written(self) -> None:
        async def count() -> int:
            return len(await self.manager.sessions_of("ada"))

        for name in ("Ada", " ada", "ADA", "\uff21\uff44\uff41"):
            self.cookie = None
            self.log_in(name)
        assert self.io_loop.run_sync(count) == 4
