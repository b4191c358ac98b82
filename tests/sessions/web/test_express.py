"""What people know from express-session, and what is done better here.

docs/from-express-session.md names these tests.
"""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tornado.httputil import HTTPServerRequest
from tornado.testing import AsyncHTTPTestCase, ExpectLog
from tornado.web import Application, RequestHandler

from hello_tornado.sessions import CookiePolicy, Lifetimes, Session, SessionManager, SessionMixin
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.events import CookieRejected, SessionEvent
from hello_tornado.sessions.records.ids import key_of, new_session_id
from hello_tornado.sessions.stores.memory import MemoryStore

SECRET = "of the tests, and of no one else"


class Handler(SessionMixin, RequestHandler):
    """Does to its session what the test says, and tells what is in it then."""

    def initialize(self, deed: list[Callable[[Session], object]]) -> None:
        self.deed = deed

    def get(self) -> None:
        for deed in self.deed:
            deed(self.session)
        self.write({"user": self.session.user_id, "data": dict(self.session)})


class ExpressCase(AsyncHTTPTestCase):
    """An application over one store, whose options a test may change while sessions stand."""

    @pytest.fixture(autouse=True)
    def moving(self, clock: Any) -> None:
        self.clock = clock

    def get_app(self) -> Application:
        self.deed: list[Callable[[Session], object]] = []
        self.events: list[SessionEvent] = []
        self.store = MemoryStore()
        return Application([("/.*", Handler, {"deed": self.deed})], cookie_secret=SECRET)

    def setUp(self) -> None:
        super().setUp()
        self.use()

    def use(self, policy: CookiePolicy | None = None, **options: Any) -> SessionManager:
        manager = SessionManager(
            self.store, cookie=policy, clock=self.clock, hooks=[self.events.append], **options
        )
        self._app.settings["session_manager"] = manager
        return manager

    def get(
        self,
        cookie: str | None = None,
        deed: Callable[[Session], object] | None = None,
        path: str = "/",
    ) -> Any:
        self.deed[:] = [] if deed is None else [deed]
        headers = {} if cookie is None else {"Cookie": cookie.partition(";")[0]}
        return self.fetch(path, headers=headers)

    def begin(self, deed: Callable[[Session], object] = lambda s: s.update(n=1)) -> str:
        return str(self.get(deed=deed).headers["Set-Cookie"])

    def data(self, cookie: str) -> Any:
        return json.loads(self.get(cookie).body)["data"]

    def rows(self) -> int:
        return self.io_loop.run_sync(self.store.count)


class TestOptions(ExpressCase):
    def test_name_is_that_of_the_cookie(self) -> None:
        self.use(CookiePolicy(name="connect.sid"))
        cookie = self.begin()
        assert cookie.startswith("connect.sid=")
        assert self.data(cookie) == {"n": 1}

    def test_genid_is_asked_with_the_request(self) -> None:
        asked: list[HTTPServerRequest] = []
        ids = [f"tenant-{new_session_id()}" for _ in range(2)]

        def genid(request: HTTPServerRequest) -> str:
            asked.append(request)
            return ids[len(asked) - 1]

        self.use(genid=genid)
        cookie = self.get(deed=lambda s: s.update(n=1), path="/first").headers["Set-Cookie"]
        renewed = self.get(cookie, lambda s: s.renew(), "/second").headers["Set-Cookie"]
        assert [request.path for request in asked] == ["/first", "/second"]
        assert self.data(renewed) == {"n": 1}
        (record,) = self.io_loop.run_sync(
            lambda: self.store.load([key_of(i) for i in ids])
        ).values()
        assert record.key == key_of(ids[1])

    def test_a_genid_that_is_too_easy_to_guess_is_refused(self) -> None:
        async def begin(weak: Any) -> None:
            manager = self.use(genid=lambda _request: weak)
            session = await manager.open(None)
            session["n"] = 1
            with pytest.raises(ConfigurationError, match="22 to 128"):
                await manager.commit(session)

        for weak in ("1", "x" * 21, "ä" * 30, "with blanks " * 3, 7, None):
            self.io_loop.run_sync(lambda weak=weak: begin(weak))
        assert self.rows() == 0

    def test_rolling_sends_the_cookie_with_each_response(self) -> None:
        cookie = self.begin()
        assert "Set-Cookie" not in self.get(cookie).headers
        self.use(rolling=True)
        for _ in range(2):
            cookie = self.get(cookie).headers["Set-Cookie"]
        assert "Set-Cookie" not in self.get().headers, "but never to who has no session"

    def test_resave_stores_what_did_not_change(self) -> None:
        cookie = self.begin()
        for resave, versions in ((False, 1), (True, 2)):
            self.use(resave=resave)
            self.get(cookie)
            (record,) = self.io_loop.run_sync(lambda: self.store.page(None, 9))
            assert record.version == versions

    def test_save_uninitialized_stores_what_nobody_wrote_to(self) -> None:
        assert "Set-Cookie" not in self.get().headers
        assert self.rows() == 0
        self.use(save_uninitialized=True)
        assert "Set-Cookie" in self.get().headers
        assert self.rows() == 1


class Reloading(SessionMixin, RequestHandler):
    async def get(self) -> None:
        self.session["n"] = 99
        await self.reload_session()
        self.write({"data": dict(self.session)})


class TestSession(ExpressCase):
    def test_reload_forgets_what_was_not_saved(self) -> None:
        cookie = self.begin()
        self._app.add_handlers(".*", [("/reload", Reloading)])
        assert json.loads(self.get(cookie, path="/reload").body)["data"] == {"n": 1}
        assert self.data(cookie) == {"n": 1}

    def test_the_id_is_nowhere_to_be_had_by_accident(self) -> None:
        told: list[str] = []

        def tell(session: Session) -> None:
            told.extend([repr(session), str(session), repr(dict(session)), session.handle or ""])
            told.extend(str(getattr(session, name)) for name in dir(session))

        cookie = self.begin()
        self.get(cookie, tell)
        value = cookie.partition(";")[0].partition("=")[2]
        signed = Keyring.of(self._app.settings).verify("session", value, self.clock.now)
        assert signed is not None
        assert signed.session_id not in " ".join(told)
        assert not hasattr(Session, "id")

    def test_methods_are_no_data_and_data_no_methods(self) -> None:
        names = ["destroy", "regenerate", "touch", "user_id", "id", "cookie", "__class__"]
        cookie = self.begin(lambda s: s.update(dict.fromkeys(names, 1)))
        assert self.data(cookie) == dict.fromkeys(names, 1)
        self.get(cookie, lambda s: s.destroy())
        assert json.loads(self.get(cookie).body) == {"user": None, "data": {}}

    def test_the_times_of_its_cookie(self) -> None:
        """cookie.maxAge, cookie.originalMaxAge and cookie.expires."""
        seen: list[Any] = []
        cookie = self.begin(lambda s: setattr(s, "idle_timeout", 600))
        self.clock.advance(minutes=4)
        self.get(cookie, lambda s: seen.extend([s.expires_in, s.idle_timeout, s.expires_at]))
        expires_in, idle_timeout, expires_at = seen
        assert (expires_in, idle_timeout) == (timedelta(minutes=6), timedelta(minutes=10))
        self.get(cookie, lambda s: seen.append(s.accessed_at))
        assert expires_at - seen[-1] == timedelta(minutes=6)


class TestDoneBetter(ExpressCase):
    def test_changing_only_a_lifetime_is_saved_and_sent(self) -> None:
        cookie = self.begin()
        answer = self.get(cookie, lambda s: setattr(s, "idle_timeout", timedelta(hours=12)))
        assert "; Max-Age=46800;" in answer.headers["Set-Cookie"]
        assert answer.headers["Set-Cookie"].startswith(cookie.partition("|")[0])
        self.clock.advance(hours=11)
        assert self.data(answer.headers["Set-Cookie"]) == {"n": 1}

    def test_remember_me_and_its_opposite(self) -> None:
        """The absolute timeout of 24 hours does not cut the two weeks of a remembered session."""
        self.use(lifetimes=Lifetimes(remembered=timedelta(days=14)))
        cookie = self.begin(lambda s: s.login("ada"))
        assert "; Max-Age=7200;" in cookie
        cookie = self.get(cookie, lambda s: s.login("ada", remember=False)).headers["Set-Cookie"]
        assert "Max-Age" not in cookie
        assert "Expires" not in cookie
        cookie = self.get(cookie, lambda s: s.login("ada", remember=True)).headers["Set-Cookie"]
        assert f"; Max-Age={14 * 86400 + 3600};" in cookie
        self.deed.clear()
        self.clock.advance(days=13)
        later = self.get(cookie)
        assert json.loads(later.body)["user"] == "ada"
        assert f"; Max-Age={86400 + 3600};" in later.headers["Set-Cookie"], "it does not slide"
        self.clock.advance(days=1)
        assert json.loads(self.get(cookie).body)["user"] is None

    def test_changed_cookie_options_reach_sessions_that_stand(self) -> None:
        """express-session replays what it has stored; here a cookie says what the policy says."""
        cookie = self.begin()
        assert "; SameSite=Lax" in cookie
        self.use(CookiePolicy(samesite="strict", priority="high", persist=False))
        self.clock.advance(seconds=60)
        assert "Set-Cookie" not in self.get(cookie).headers, "that is due once in a day"
        renewed = self.get(cookie, lambda s: s.renew()).headers["Set-Cookie"]
        assert renewed.endswith("; Path=/; HttpOnly; SameSite=Strict; Priority=High")
        self.deed.clear()
        changed = renewed
        assert self.data(changed) == {"n": 1}

    def test_two_cookies_of_one_name_are_no_login_loop(self) -> None:
        """A stale cookie beside the right one, in either order, and one that is forged."""
        stale = self.begin(lambda s: s.login("ada")).partition(";")[0]
        self.get(stale, lambda s: s.destroy())
        good = self.begin(lambda s: s.login("ada")).partition(";")[0]
        self.deed.clear()
        forged = good[:-1] + "x"
        for cookies in ((stale, good), (good, stale), (forged, good), (good, good)):
            answer = self.fetch("/", headers={"Cookie": "; ".join(cookies)})
            assert json.loads(answer.body)["user"] == "ada", cookies

    def test_of_two_cookies_that_are_over_the_first_says_why(self) -> None:
        ended = self.begin(lambda s: s.login("ada")).partition(";")[0]
        self.get(ended, lambda s: s.destroy())
        never_there = Keyring.of(self._app.settings).sign(
            "session", new_session_id(), self.clock.now
        )
        reasons: list[Any] = []
        self.deed[:] = [lambda s: reasons.append(s.ended_reason)]
        self.fetch("/", headers={"Cookie": f"{ended}; session={never_there}"})
        assert reasons == ["logged_out"]

    def test_of_two_living_sessions_none_is_taken(self) -> None:
        """Somebody may have put the other one there."""
        mine, tossed = (self.begin(lambda s: s.login("ada")).partition(";")[0] for _ in range(2))
        self.events.clear()
        self.deed.clear()
        answer = self.fetch("/", headers={"Cookie": f"{mine}; {tossed}"})
        assert json.loads(answer.body)["user"] is None
        assert self.events == [CookieRejected("ambiguous")]

    def test_two_managers_on_one_store_do_not_mix(self) -> None:
        """In express-session the cookie options and genid of the last one hold for both."""
        first = self.use(CookiePolicy(name="first"), genid=lambda _: "1-" + new_session_id())
        second = SessionManager(
            self.store,
            genid=lambda _: "2-" + new_session_id(),
            clock=self.clock,
            lifetimes=Lifetimes(idle=timedelta(minutes=5)),
            log=False,
        )
        for manager, prefix, lives in ((first, "1-", 60), (second, "2-", 5)):
            session = self.io_loop.run_sync(lambda manager=manager: manager.open(None))
            session["n"] = prefix
            action: Any = self.io_loop.run_sync(lambda m=manager, s=session: m.commit(s))
            assert action.session_id.startswith(prefix)
            assert session.expires_in == timedelta(minutes=lives)
        assert self.begin().startswith("first=")
        assert [type(event).__name__ for event in self.events] == ["Created", "Created"]

    def test_a_session_that_was_never_used_leaves_no_row_and_no_cookie(self) -> None:
        for deed in (None, lambda s: s.get("n"), lambda s: s.touch(), lambda s: s.clear()):
            assert "Set-Cookie" not in self.get(deed=deed).headers
        assert self.rows() == 0


class Remembers(RequestHandler):
    def get(self) -> None:
        self.set_signed_cookie("theme", "dark")


class TestTornadosOwnSignedCookies(AsyncHTTPTestCase):
    def get_app(self) -> Application:
        return Application([("/", Remembers)], cookie_secret=[SECRET])

    def test_tornados_own_signed_cookies_take_no_list(self) -> None:
        """One that takes it would make a row of docs/from-express-session.md wrong."""
        with ExpectLog("tornado.application", "Uncaught exception"):
            assert self.fetch("/").code == 500
        self._app.settings["cookie_secret"] = {0: SECRET}
        self._app.settings["key_version"] = 0
        assert self.fetch("/").code == 200
