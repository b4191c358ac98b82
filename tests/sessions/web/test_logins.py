"""Logins, logouts and the cookie: a new id, and a signature that is never too old."""

import asyncio
from typing import Any

import pytest
from fakes import SECRET, FakeStore
from styles import (
    Browser,
    Counting,
    Routes,
)
from tornado.web import Application

from hello_tornado.sessions import SessionManager

pytestmark = [pytest.mark.usefixtures("instrumented"), pytest.mark.gen_test]


class Waiting(Counting):
    async def get(self) -> None:
        self.application.settings["is_waiting"].set()
        await self.application.settings["may_go_on"].wait()
        self.write("at last")


ROUTES: Routes = {
    "/waiting": Waiting,
}


async def test_login_renews_the_id_and_the_old_one_is_dead(browser: Browser) -> None:
    await browser.get("/write")
    before = browser.cookie
    assert (await browser.get("/login")).code == 302
    assert browser.cookie not in (None, before)
    assert (await browser.get("/private")).body == b"private to ada"
    after, browser.cookie = browser.cookie, before
    assert await browser.data() == {}
    browser.cookie = after
    assert await browser.data() == {"n": 1}


async def test_authenticated_sends_strangers_to_the_login(browser: Browser) -> None:
    response = await browser.get("/private")
    assert response.code == 302
    assert response.headers["Location"] == "/login?next=%2Fprivate"


async def test_logout_clears_the_cookie_and_the_old_one_is_worthless(browser: Browser) -> None:
    await browser.get("/login")
    cookie = browser.cookie
    response = await browser.get("/logout")
    assert response.headers["Set-Cookie"].startswith(
        "session=; Max-Age=0; Expires=Thu, 01 Jan 1970"
    )
    browser.cookie = cookie
    assert (await browser.get("/private")).code == 302


async def test_a_cookie_in_use_is_signed_anew_before_it_grows_old(
    browser: Browser, app: Application, clock: Any, store: FakeStore
) -> None:
    app.settings["session_manager"] = SessionManager(store, clock=clock)
    await browser.get("/write")
    clock.advance(seconds=59)
    assert "Set-Cookie" not in (await browser.get("/read")).headers
    before = browser.cookie
    clock.advance(seconds=1)
    assert "Max-Age=7200" in (await browser.get("/read")).headers["Set-Cookie"]
    assert browser.cookie != before
    assert "Set-Cookie" not in (await browser.get("/read")).headers
    assert await browser.data() == {"n": 1}


async def test_a_cookie_signed_with_an_old_secret_is_signed_anew(
    browser: Browser, app: Application
) -> None:
    app.settings["cookie_secret"] = {1: SECRET}
    await browser.get("/write")
    app.settings["cookie_secret"] = {1: SECRET, 2: "another secret, just as long as the first"}
    assert (await browser.get("/read")).headers["Set-Cookie"].startswith("session=2|1:2|")
    assert "Set-Cookie" not in (await browser.get("/read")).headers
    del app.settings["cookie_secret"][1]
    assert await browser.data() == {"n": 1}


async def test_a_cookie_signed_anew_never_overwrites_that_of_a_login_beside_it(
    browser: Browser, app: Application
) -> None:
    app.settings["session_manager"].rolling = True
    assert "Set-Cookie" in (await browser.get("/write")).headers
    assert "Set-Cookie" in (await browser.get("/untouched")).headers
    old = browser.cookie
    slow = asyncio.ensure_future(browser.get("/waiting"))
    await app.settings["is_waiting"].wait()
    assert "Set-Cookie" in (await browser.get("/login")).headers
    app.settings["may_go_on"].set()
    assert "Set-Cookie" not in (await slow).headers
    assert browser.cookie != old
    assert (await browser.get("/private")).body == b"private to ada"
