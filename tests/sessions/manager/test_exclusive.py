"""One request of a session at a time; for two servers see tests/server/test_slow_requests.py."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from fakes import SECRET
from schedules import TURNS
from tornado.testing import AsyncHTTPTestCase, gen_test
from tornado.web import Application, RequestHandler

from hello_tornado.sessions import SessionHandler, SessionManager, SessionMixin
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.events import LeaseNotReleased, SessionEvent
from hello_tornado.sessions.stores.memory import MemoryStore


class Login(SessionMixin, RequestHandler):
    def get(self) -> None:
        self.session.login("ada")

    def delete(self) -> None:
        self.session.destroy()


class Pay(SessionHandler):
    session_exclusive = frozenset({"GET"})
    session_wait = timedelta(seconds=0.1)

    async def get(self, deed: str) -> None:
        test: TestExclusive = self.settings["test"]
        match deed:
            case "hold":
                test.is_held.set()
                await test.may_go.wait()
            case "hold-and-renew":
                test.is_held.set()
                await test.may_go.wait()
                self.session.renew()
            case "count":
                self.session.increment("n")
            case "fail":
                raise RuntimeError
            case "renew":
                self.session.renew()
            case "reset":
                self.session.reset()
            case "destroy":
                self.session.destroy()
        self.write(f"{self.session.user_id} {self.session.ended_reason}")

    def post(self, _deed: str) -> None:
        """Not exclusive."""
        self.write(str(self.session.increment("n")))


class Patient(Pay):
    session_wait = timedelta(seconds=20)

    async def _load_session(self) -> None:
        test: TestExclusive = self.settings["test"]
        test.arrived += self.path_args == ["count"]
        if test.arrived == 3:
            test.are_waiting.set()
        await super()._load_session()


class TestExclusive(AsyncHTTPTestCase):
    @pytest.fixture(autouse=True)
    def moving(self, clock: Any) -> None:
        self.clock = clock

    def get_app(self) -> Application:
        self.is_held, self.may_go = asyncio.Event(), asyncio.Event()
        self.are_waiting, self.arrived = asyncio.Event(), 0
        self.events: list[SessionEvent] = []
        self.manager = SessionManager(
            MemoryStore(), clock=lambda: self.clock.now, hooks=[self.events.append]
        )
        return Application(
            [("/login", Login), ("/pay/(.*)", Pay), ("/patient/(.*)", Patient)],
            cookie_secret=SECRET,
            session_manager=self.manager,
            test=self,
        )

    async def get(self, path: str, cookie: str = "none=at all", **options: Any) -> Any:
        return await self.http_client.fetch(
            self.get_url(path), raise_error=False, headers={"Cookie": cookie}, **options
        )

    async def log_in(self) -> str:
        answer = await self.get("/login")
        return str(answer.headers["Set-Cookie"].partition(";")[0])

    @gen_test
    async def test_the_second_one_waits_and_gives_up(self) -> None:
        cookie = await self.log_in()
        holding = asyncio.ensure_future(self.get("/pay/hold", cookie))
        await self.is_held.wait()
        answer = await self.get("/pay/now", cookie)
        assert (answer.code, answer.headers["Retry-After"]) == (503, "5")
        self.may_go.set()
        assert (await holding).code == 200
        assert (await self.get("/pay/now", cookie)).code == 200

    @gen_test
    async def test_a_method_that_is_not_named_does_not_wait(self) -> None:
        cookie = await self.log_in()
        holding = asyncio.ensure_future(self.get("/pay/hold", cookie))
        await self.is_held.wait()
        assert (await self.get("/pay/now", cookie, method="POST", body="")).body == b"1"
        self.may_go.set()
        await holding

    @gen_test
    async def test_another_session_does_not_wait_nor_does_who_has_none(self) -> None:
        first, second = await self.log_in(), await self.log_in()
        holding = asyncio.ensure_future(self.get("/pay/hold", first))
        await self.is_held.wait()
        assert (await self.get("/pay/now", second)).body == b"ada None"
        assert (await self.get("/pay/now")).body == b"None None"
        self.may_go.set()
        await holding

    @gen_test
    async def test_however_it_ends_the_next_one_is_let_in(self) -> None:
        for deed in ("fail", "renew", "reset", "destroy"):
            cookie = await self.log_in()
            answer = await self.get(f"/pay/{deed}", cookie)
            assert answer.code == (500 if deed == "fail" else 200)
            if given := answer.headers.get("Set-Cookie"):
                cookie = given.partition(";")[0]
            assert (await self.get("/pay/now", cookie)).code == 200, deed

    @gen_test
    async def test_a_logout_ends_what_else_was_presented(self) -> None:
        """One that is over by this clock may live by that of another process."""
        first = await self.log_in()
        self.clock.advance(hours=2)
        second = await self.log_in()
        assert await self.manager.store.count() == 2
        assert (await self.get("/pay/destroy", f"{first}; {second}")).code == 200
        assert await self.manager.store.count() == 0

    @gen_test
    async def test_a_lease_ends(self) -> None:
        cookie = await self.log_in()
        holding = asyncio.ensure_future(self.get("/pay/hold", cookie))
        await self.is_held.wait()
        self.clock.advance(seconds=30)
        self.is_held.clear()
        second = asyncio.ensure_future(self.get("/pay/hold", cookie))
        await self.is_held.wait()
        self.may_go.set()
        assert [(await one).code for one in (holding, second)] == [200, 200]
        (session,) = await self.manager.sessions_of("ada")
        assert session.leases == {}

    @gen_test
    async def test_who_overran_does_not_take_the_lease_from_the_next(self) -> None:
        cookie = await self.log_in()
        first = asyncio.ensure_future(self.get("/pay/hold", cookie))
        await self.is_held.wait()
        self.clock.advance(seconds=30)
        go_first, self.may_go = self.may_go, asyncio.Event()
        self.is_held.clear()
        second = asyncio.ensure_future(self.get("/pay/hold", cookie))
        await self.is_held.wait()
        go_first.set()
        assert (await first).code == 200
        assert (await self.get("/pay/now", cookie)).code == 503
        self.may_go.set()
        assert (await second).code == 200

    @gen_test
    async def test_a_session_that_ended_meanwhile_says_so(self) -> None:
        cookie = await self.log_in()
        holding = asyncio.ensure_future(self.get("/pay/hold", cookie))
        await self.is_held.wait()
        waiting = asyncio.ensure_future(self.get("/patient/now", cookie))
        await self.get("/login", cookie, method="DELETE")
        assert (await waiting).body == b"None logged_out"
        self.may_go.set()
        await holding

    @gen_test
    async def test_a_lease_that_cannot_be_given_back_is_told(self) -> None:
        cookie = await self.log_in()
        holding = asyncio.ensure_future(self.get("/pay/hold", cookie))
        await self.is_held.wait()

        async def find_by_handle(_handles: object) -> None:
            raise StoreUnavailable("away")

        self.manager.store.find_by_handle = find_by_handle  # type: ignore[method-assign, assignment]
        self.may_go.set()
        assert (await holding).code == 200
        assert isinstance(self.events[-1], LeaseNotReleased)

    @gen_test
    async def test_requests_that_wait_follow_the_session_to_its_new_id(self) -> None:
        cookie = await self.log_in()
        holder = asyncio.ensure_future(self.get("/patient/hold-and-renew", cookie))
        await self.is_held.wait()
        waiting = [asyncio.ensure_future(self.get("/patient/count", cookie)) for _ in range(3)]
        await self.are_waiting.wait()
        for _ in range(TURNS):  # in which each of them finds that it is not its turn
            await asyncio.sleep(0)
        self.may_go.set()
        answers = [await holder, *[await one for one in waiting]]
        assert [answer.code for answer in answers] == [200] * 4
        (session,) = await self.manager.sessions_of("ada")
        assert session["n"] == 3
