"""The phases that a handler goes through, in every style of handler, and nothing but these."""

import asyncio
from typing import get_args

import pytest
from fakes import FakeStore
from sites import site
from tornado.web import HTTPError, RequestHandler, StaticFileHandler

from hello_tornado.sessions import SessionMixin, WebSocketSessionMixin
from hello_tornado.sessions.web import binding
from hello_tornado.sessions.web.binding import Phase

TRANSITIONS = (binding.LOADED, binding.FINISHED, binding.SENT, binding.FAILED)


class Walking(SessionMixin, RequestHandler):
    """Notes each phase that it enters."""

    @property
    def _phase(self) -> Phase:  # type: ignore[override]
        return self.__dict__.get("phase", "loading")

    @_phase.setter
    def _phase(self, phase: Phase) -> None:
        assert any(step.get(self._phase) == phase for step in TRANSITIONS)
        if phase != self._phase:
            self.settings["walk"].append(phase)
        self.__dict__["phase"] = phase


class Page(Walking):
    async def get(self, style: str) -> None:  # noqa: C901 - one style a case
        self.write("page")
        if style.startswith("write"):
            self.session.increment("n")
        if style.startswith("logout"):
            self.session.destroy()
        match style.partition("-")[2]:
            case "finish":
                self.finish()
            case "await-finish":
                await self.finish()
            case "finish-and-work":
                finishing = self.finish()
                await asyncio.sleep(0)
                await finishing
            case "flush":
                self.flush()
            case "await-flush":
                await self.flush()
            case "flush-and-finish":
                self.flush()
                self.finish()
            case "save":
                await self.save_session()
            case "update":
                await self.update_session(lambda session: session.increment("n"))
            case "redirect":
                self.redirect("/show")
            case "forbidden":
                raise HTTPError(403)
            case "error":
                raise ZeroDivisionError
            case "send-error":
                self.send_error(500)
            case "status":
                self.set_status(500)
            case "finish-twice":
                self.finish()
                self.finish()
            case "error-after-finish":
                self.finish()
                raise ZeroDivisionError
            case "bad-chunk":
                self.finish(7)  # type: ignore[arg-type]

    def put(self, _style: str) -> None:
        """Neither awaits nor finishes."""
        self.session.increment("n")


class Early(Walking):
    async def _load_session(self) -> None:
        raise HTTPError(404)


class Impatient(Walking):
    async def _load_session(self) -> None:
        self.finish("as if the client had gone")
        await super()._load_session()

    def get(self) -> None:
        raise AssertionError("it was answered before")


class Files(Walking, StaticFileHandler):
    pass


class Socket(Walking, WebSocketSessionMixin):
    pass


async def walked(path: str, method: str = "GET", failing: str = "") -> tuple[list[str], int]:
    """The phases of one request of somebody who is logged in, and the answer's status."""
    store, walk = FakeStore(), list[str]()
    routes = [
        ("/page/(.*)", Page),
        ("/early", Early),
        ("/impatient", Impatient),
        ("/files/(.*)", Files, {"path": "tests"}),
        ("/socket", Socket),
    ]
    async with site(store, routes, settings={"walk": walk}) as server:
        jar = await server.logged_in()
        store.failing = {failing}
        return walk, (await server.ask(jar, path, method)).code


READ = ["open", "sent"]
STORED = ["open", "committing", "sent"]
FAILED = ["open", "committing", "failing", "failed"]


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("style", "phases", "status"),
    [
        ("read", READ, 200),
        ("read-finish", READ, 200),
        ("read-await-finish", READ, 200),
        ("read-flush", READ, 200),
        ("read-redirect", READ, 302),
        ("read-forbidden", READ, 403),
        ("read-error", READ, 500),
        ("read-finish-twice", READ, 200),
        ("read-bad-chunk", READ, 500),
        ("write", STORED, 200),
        ("write-finish", STORED, 200),
        ("write-await-finish", STORED, 200),
        ("write-finish-and-work", STORED, 200),
        ("write-flush", STORED, 200),
        ("write-await-flush", READ, 200),
        ("write-flush-and-finish", STORED, 200),
        ("write-save", READ, 200),
        ("write-update", READ, 200),
        ("write-redirect", STORED, 302),
        ("write-forbidden", STORED, 403),
        ("write-error", READ, 500),
        ("write-send-error", READ, 500),
        ("write-status", READ, 500),
        ("write-finish-twice", STORED, 200),
        ("write-error-after-finish", STORED, 200),
        ("logout", STORED, 200),
        ("logout-error", STORED, 500),
    ],
)
async def test_each_style_of_handler(style: str, phases: list[str], status: int) -> None:
    assert await walked(f"/page/{style}") == (phases, status)


@pytest.mark.gen_test
@pytest.mark.parametrize(
    ("path", "method", "failing", "phases", "status"),
    [
        ("/early", "GET", "", ["sent"], 404),
        ("/impatient", "GET", "", ["sent"], 200),
        ("/page/write", "DELETE", "", READ, 405),
        ("/page/write", "PUT", "", STORED, 200),
        ("/files/conftest.py", "GET", "", READ, 200),
        ("/files/none", "GET", "", READ, 404),
        ("/socket", "GET", "", READ, 400),
        ("/page/write", "GET", "load", ["sent"], 503),
        ("/page/write", "GET", "save", FAILED, 503),
        ("/page/write-flush", "GET", "save", FAILED, 503),
        ("/page/write-save", "GET", "save", READ, 503),
        ("/page/logout", "GET", "delete", FAILED, 503),
    ],
)
async def test_what_fails_or_is_no_page(
    path: str, method: str, failing: str, phases: list[str], status: int
) -> None:
    assert await walked(path, method, failing) == (phases, status)


def test_the_transitions_lead_through_all_phases() -> None:
    reached = {phase for step in TRANSITIONS for phase in step.values()}
    assert reached == set(get_args(Phase)) - {"loading"}
