"""Responses that leave in parts: the first waits for the save, the last for later changes."""

import pytest
from fakes import FakeStore
from styles import Browser, Counting, Routes
from tornado.web import Application

from hello_tornado.sessions.errors import (
    ResponseStarted,
)

pytestmark = [pytest.mark.usefixtures("instrumented"), pytest.mark.gen_test]


class Streaming(Counting):
    async def get(self) -> None:
        self.count()
        for part in range(3):
            self.write(f"{part}")
            await self.flush()
        self.session["streamed"] = True


class Saving(Counting):
    async def get(self) -> None:
        self.count()
        await self.save_session()
        self.session["after"] = True
        self.write(str(self.application.settings["store"].saves_done))


class TooLate(Counting):
    async def get(self) -> None:
        self.write("first")
        await self.flush()
        try:
            self.session["n"] = 1
        except ResponseStarted as error:
            self.application.settings["errors"].append(str(error))


ROUTES: Routes = {
    "/streaming": Streaming,
    "/saving": Saving,
    "/too-late": TooLate,
}


async def test_a_stream_saves_before_its_first_byte_and_what_came_later_at_the_end(
    browser: Browser,
) -> None:
    response = await browser.get("/streaming")
    assert response.body == b"012"
    assert "Set-Cookie" in response.headers
    assert await browser.data() == {"n": 1, "streamed": True}


async def test_an_explicit_save_does_not_cost_a_second_one_at_the_end(
    browser: Browser, store: FakeStore
) -> None:
    assert (await browser.get("/saving")).body == b"1"
    assert await browser.data() == {"n": 1, "after": True}
    store.calls.clear()
    await browser.get("/saving")
    assert store.calls == ["load", "save"]


async def test_a_new_session_after_the_headers_is_refused_where_it_is_written(
    browser: Browser, app: Application, store: FakeStore
) -> None:
    await browser.get("/too-late")
    assert "before the first flush()" in app.settings["errors"][0]
    assert store.calls == []
