"""What a handler finds in `session`, what that costs, and what becomes of it when it is dropped."""

import json

import pytest
from fakes import FakeStore
from styles import Browser, Counting, Routes
from tornado.web import Application, RequestHandler

from hello_tornado.sessions import SessionMixin
from hello_tornado.sessions.errors import (
    SessionNotLoaded,
)

pytestmark = [pytest.mark.usefixtures("instrumented"), pytest.mark.gen_test]


class Dropping(Counting):
    def get(self) -> None:
        self.count()
        del self.session


class SettingNone(Counting):
    def get(self) -> None:
        self.count()
        self.session = None


class TooEarly(SessionMixin, RequestHandler):
    def initialize(self) -> None:
        try:
            self.session["n"] = 1
        except SessionNotLoaded as error:
            self._told = str(error)

    def get(self) -> None:
        self.write(self._told)


ROUTES: Routes = {
    "/dropping": Dropping,
    "/setting-none": SettingNone,
    "/too-early": TooEarly,
}


async def test_reading_costs_one_load_and_no_cookie(browser: Browser, store: FakeStore) -> None:
    await browser.get("/write")
    store.calls.clear()
    response = await browser.get("/read")
    assert store.calls == ["load"]
    assert "Set-Cookie" not in response.headers
    assert response.headers["Vary"] == "Cookie"


async def test_a_stranger_costs_nothing(browser: Browser, store: FakeStore) -> None:
    response = await browser.get("/read")
    assert json.loads(response.body) == {"data": {}, "user": None}
    assert "Vary" not in (await browser.get("/untouched")).headers
    assert "Set-Cookie" not in response.headers
    assert store.calls == []


async def test_a_session_is_not_there_before_it_is_loaded(browser: Browser) -> None:
    response = await browser.get("/too-early")
    assert response.body.decode() == (
        "TooEarly.session is loaded after initialize(), before prepare()"
    )


@pytest.mark.parametrize("path", ["/dropping", "/setting-none"])
async def test_unset_keep_drops_the_changes_and_keeps_the_session(
    browser: Browser, store: FakeStore, path: str
) -> None:
    await browser.get("/write")
    store.calls.clear()
    response = await browser.get(path)
    assert "Set-Cookie" not in response.headers
    assert store.calls == ["load"]
    assert await browser.data() == {"n": 1}


async def test_unset_destroy_ends_the_session(browser: Browser, app: Application) -> None:
    app.settings["session_manager"].unset = "destroy"
    await browser.get("/write")
    cookie = browser.cookie
    assert "Max-Age=0" in (await browser.get("/dropping")).headers["Set-Cookie"]
    browser.cookie = cookie
    assert await browser.data() == {}
