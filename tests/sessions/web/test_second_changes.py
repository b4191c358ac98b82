"""A second change in a request is a change like the first: after a save, a flush, a failure."""

import asyncio
import gc
import itertools
import weakref
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fakes import FakeStore
from sites import Jar, Site, site
from tornado.web import HTTPError, RequestHandler

from hello_tornado.sessions import Session, SessionManager, SessionMixin, Store
from hello_tornado.sessions.errors import ResponseStarted, SessionEnded, StoreUnavailable
from hello_tornado.sessions.events import Ended
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.stores.memory import MemoryStore

BEFORE = [
    "nothing",
    "save",
    "flush",
    "touch and flush",
    "save twice",
    "renew and save",
    "login and save",
    "reset and save",
    "status 500",
]
ENDS = ["destroy", "del", "everywhere"]
AFTER = [
    "nothing",
    "save",
    "error",
    "forbidden",
    "status 500",
    "redirect",
    "finish",
    "await finish",
    "save and error",
    "destroy again",
    "reload",
    "drop",
]


class Ending(SessionMixin, RequestHandler):
    """Does something, ends the session, and then does something else."""

    async def post(self) -> None:
        before, end, after = self.get_argument("deeds").split(",")
        await self.do_before(before)
        match end:
            case "destroy":
                self.session.destroy()
            case "everywhere":
                self.session.logout(everywhere=True)
            case _:
                del self.session
        await self.do_after(after)

    async def do_before(self, deed: str) -> None:
        match deed:
            case "save" | "save twice" | "flush":
                self.session["last"] = "logout"
            case "renew and save":
                self.session.renew()
            case "login and save":
                self.session.login("ada")
            case "reset and save":
                self.session.reset()
            case "touch and flush":
                self.session.touch()
            case "status 500":
                self.set_status(500)
        if "save" in deed:
            await self.save_session()
        if "flush" in deed:
            self.write("first")
            await self.flush()
        if "twice" in deed:
            self.session.increment("n")
            await self.save_session()

    async def do_after(self, deed: str) -> None:  # noqa: C901 - a list
        match deed:
            case "save":
                await self.save_session()
            case "error":
                raise ZeroDivisionError
            case "forbidden":
                raise HTTPError(403)
            case "status 500":
                if not self._headers_written:
                    self.set_status(500)
            case "redirect":
                if not self._headers_written:
                    self.redirect("/")
            case "finish":
                self.finish("over")
            case "await finish":
                await self.finish("over")
            case "save and error":
                await self.save_session()
                raise ZeroDivisionError
            case "destroy again":
                self.session.destroy()
            case "reload":
                await self.reload_session()
                assert self.session.ended
            case "drop":
                self.session_manager.unset = "keep"
                del self.session
                self.session_manager.unset = "destroy"


@pytest.mark.timeout(240)  # there are hundreds of requests
@pytest.mark.slow
def test_a_logout_is_final_whatever_the_request_does_before_and_after(any_store: Store) -> None:
    async def scenario() -> None:
        async with site(any_store, [("/end", Ending)], unset="destroy") as here:
            for deeds in itertools.product(BEFORE, ENDS, AFTER):
                jar = await here.logged_in()
                old = jar.copy()
                other = await here.logged_in() if "everywhere" in deeds else None
                response = await here.ask(
                    jar, f"/end?deeds={','.join(deeds)}".replace(" ", "+"), "POST"
                )
                for cookies in (jar, old):
                    assert await here.user(cookies) is None, deeds
                if other is not None:  # who has emptied the session is nobody any more
                    is_somebodys = "reset and save" not in deeds
                    assert (await here.user(other) is None) == is_somebodys, deeds
                    await here.manager.revoke_user("ada")
                assert await here.manager.length() == 0, deeds
                if "flush" not in deeds[0]:
                    assert response.headers["Set-Cookie"].startswith("session=; Max-Age=0"), deeds
                assert any(isinstance(event, Ended) for event in here.events), deeds
                here.events.clear()

    asyncio.run(scenario())


class Changing(SessionMixin, RequestHandler):
    """Changes the session, stores it, and changes it again, in several ways."""

    async def get(self, way: str) -> None:
        self.session.increment("n")
        self.session.setdefault("cart", {})["first"] = 1
        match way:
            case "save":
                await self.save_session()
            case "flush":
                self.write("first")
                await self.flush()
            case "unawaited-flush":
                self.write("first")
                self.flush()
        self.session.increment("n")
        self.session["cart"]["second"] = 2
        self.session.append("log", "later")
        if way == "unawaited-save":
            saving = asyncio.ensure_future(self.save_session())
            await asyncio.sleep(0)
            self.session.increment("n")
            self.session["cart"]["third"] = 3
            await saving
        if way == "two-saves":
            await asyncio.gather(self.save_session(), self.save_session())
        self.write("done")


WAYS = ["plain", "save", "flush", "unawaited-flush", "unawaited-save", "two-saves"]


def test_what_is_changed_after_a_save_is_stored_too(any_store: Store) -> None:
    async def scenario() -> None:
        async with site(any_store, [("/change/(.*)", Changing)]) as here:
            jars = {way: Jar() for way in WAYS}
            for way, count in itertools.product(WAYS, (1, 2)):
                jar = jars[way]
                assert (await here.ask(jar, f"/change/{way}")).code == 200
                more = way == "unawaited-save"
                assert await here.data(jar) == {
                    "n": count * (3 if more else 2),
                    "cart": {"first": 1, "second": 2} | ({"third": 3} if more else {}),
                    "log": ["later"] * count,
                }, way
            assert await here.manager.length() == len(WAYS)

    asyncio.run(scenario())


def test_a_save_that_failed_can_be_made_again_and_counts_once() -> None:
    class Persistent(SessionMixin, RequestHandler):
        async def get(self) -> None:
            self.session.increment("n")
            self.session.append("log", 1)
            self.session.setdefault("cart", {})["a"] = 1
            try:
                await self.save_session()
            except StoreUnavailable:
                self.session["cart"]["b"] = 2
                self.session.increment("n")
            self.write(f"{self.session['n']}")

    async def scenario() -> None:
        store = FakeStore(turns={"save": 1})
        async with site(store, [("/", Persistent)]) as here:
            jar = Jar()
            store.saves_to_fail = 1
            assert (await here.ask(jar, "/")).body == b"2"
            assert await here.data(jar) == {"n": 2, "log": [1], "cart": {"a": 1, "b": 2}}
            store.saves_to_fail = 1
            assert (await here.ask(jar, "/")).body == b"4"
            assert await here.data(jar) == {"n": 4, "log": [1, 1], "cart": {"a": 1, "b": 2}}

    asyncio.run(scenario())


LATE: dict[str, Callable[[Session], object]] = {
    "set": lambda session: session.update(late=1),
    "delete": lambda session: session.pop("n"),
    "increment": lambda session: session.increment("n"),
    "append": lambda session: session.append("log", 1),
    "setdefault": lambda session: session.setdefault("late", {}),
    "login": lambda session: session.login("bob"),
    "renew": lambda session: session.renew(),
    "reset": lambda session: session.reset(),
    "destroy": lambda session: session.destroy(),
    "flash": lambda session: session.flash("late"),
    "touch": lambda session: session.touch(),
    "expire": lambda session: session.expire("n", 5),
}


class TooLate(SessionMixin, RequestHandler):
    """Writes once its response is complete."""

    def initialize(self) -> None:
        self.seen: list[object] = self.settings["seen"]

    async def post(self, moment: str) -> None:
        self.session["n"] = 1
        match moment:
            case "finish":
                self.finish("complete")
                self.try_late()
            case "await finish":
                await self.finish("complete")
                self.try_late()
            case "task":
                self.later = asyncio.ensure_future(self.in_a_while())

    async def in_a_while(self) -> None:
        await self.settings["answered"].wait()
        self.try_late()

    def on_finish(self) -> None:
        if self.path_args == ["on_finish"]:
            self.try_late()

    def try_late(self) -> None:
        for name, write in LATE.items():
            with pytest.raises(ResponseStarted, match="the response is complete"):
                write(self.session)
            self.seen.append(name)
        assert self.session["n"] == 1, "it can still be read"


@pytest.mark.parametrize("moment", ["finish", "await finish", "task", "on_finish"])
@pytest.mark.parametrize("is_new", [True, False])
def test_what_is_written_after_the_response_is_refused(moment: str, is_new: bool) -> None:
    async def scenario() -> None:
        settings = {"seen": [], "answered": asyncio.Event()}
        async with site(MemoryStore(), [("/late/(.*)", TooLate)], settings=settings) as here:
            jar = Jar() if is_new else await here.logged_in()
            path = f"/late/{moment}".replace(" ", "%20")
            assert (await here.ask(jar, path, "POST")).code == 200
            settings["answered"].set()  # type: ignore[attr-defined]
            assert await here.data(jar) == {"n": 1}
            assert settings["seen"] == list(LATE)

    asyncio.run(scenario())


Deed = Callable[[Any], object]


class Doing(SessionMixin, RequestHandler):
    """Does what the test says."""

    async def get(self) -> None:
        result = self.settings["deed"](self)
        if result is not None:
            await result


async def asked(here: Site, jar: Jar, deed: Deed) -> Any:
    here.settings["deed"] = deed
    return await here.ask(jar, "/do")


def test_an_explicit_save_stores_whatever_the_status_is(any_store: Store) -> None:
    async def save(handler: Any) -> None:
        handler.session["tries"] = 1
        handler.set_status(500)
        await handler.save_session()
        handler.session["lost"] = 1

    async def scenario() -> None:
        async with site(any_store, [("/do", Doing)]) as here:
            jar = await here.logged_in()
            assert (await asked(here, jar, save)).code == 500
            assert await here.data(jar) == {"tries": 1}

    asyncio.run(scenario())


@pytest.mark.gen_test
@pytest.mark.parametrize(
    "deed",
    [
        lambda session: (session.update(a=1), session.pop("a")),
        lambda session: (session.append("a", 1), session.clear()),
        lambda session: (session.update(a=1), session.reset()),
        lambda session: session.reset(),
        lambda session: (session.flash("x"), session.flashes()),
        lambda session: (session.update(a=1), session.destroy()),
    ],
)
@pytest.mark.parametrize("save_uninitialized", [False, True])
async def test_what_comes_to_nothing_begins_no_session(
    deed: Callable[[Session], object], save_uninitialized: bool
) -> None:
    store = MemoryStore()
    manager = SessionManager(store, save_uninitialized=save_uninitialized)
    session = await manager.open(None)
    deed(session)
    action = await manager.commit(session)
    begins = save_uninitialized and not session.ended
    assert isinstance(action, Issue) == begins
    assert await store.count() == begins


@pytest.mark.gen_test
async def test_the_same_lifetime_again_is_no_change(clock: Any) -> None:
    manager = SessionManager(MemoryStore(), clock=clock)
    session = await manager.open(None)
    session.idle_timeout = timedelta(minutes=5)
    session["a"] = 1
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    session = await manager.open(action.session_id)
    session.idle_timeout = timedelta(minutes=5)
    assert not session.modified
    assert not session.is_lifetime_changed
    session.idle_timeout = timedelta(minutes=50)
    assert session.expires_in == timedelta(minutes=50)
    session.idle_timeout = None
    assert session.expires_in == timedelta(hours=1)


@pytest.mark.gen_test
async def test_resave_keeps_nobody_logged_in_who_only_polls(clock: Any) -> None:
    manager = SessionManager(MemoryStore(), clock=clock, resave=True)
    session = await manager.open(None)
    session["a"] = 1
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    for _ in range(6):
        clock.advance(minutes=10)
        session = await manager.open(action.session_id)
        session.keeps_alive = False
        await manager.commit(session)
    assert (await manager.open(action.session_id)).is_new


@pytest.mark.gen_test
async def test_a_destroyed_session_refuses_writes_before_and_after_its_commit(clock: Any) -> None:
    manager = SessionManager(MemoryStore(), clock=clock)
    session = await manager.open(None)
    session["a"] = 1
    await manager.commit(session)
    session.destroy()
    for _ in range(2):
        with pytest.raises(SessionEnded):
            session["b"] = 2
        await manager.commit(session)
    assert not session.modified


class Twice(SessionMixin, RequestHandler):
    """Completes its response a second time while the first one waits for a save."""

    async def get(self) -> None:
        self.session.increment("n")
        saving = asyncio.ensure_future(self.save_session())
        await asyncio.sleep(0)
        self.session.increment("n")
        self.finish("once")
        with pytest.raises(RuntimeError, match="finish\\(\\) called twice"):
            self.finish("twice")
        await saving


def test_a_second_finish_loses_nothing_of_the_first() -> None:
    async def scenario() -> None:
        async with site(FakeStore(turns={"save": 1}), [("/", Twice)]) as here:
            jar = Jar()
            assert (await here.ask(jar, "/")).body == b"once"
            assert await here.data(jar) == {"n": 2}

    asyncio.run(scenario())


class Impatient(SessionMixin, RequestHandler):
    """Stops waiting for its save, in each way of waiting, and goes on."""

    async def get(self, way: str) -> None:
        self.session.increment("n")
        waiting = {"save": self.save_session, "flush": self.flush, "finish": self.finish}[way]
        with pytest.raises(TimeoutError):
            await self.at_most_now(waiting)
        if way != "finish":
            self.session.increment("m")

    async def at_most_now(self, waiting: Callable[[], Any]) -> None:
        async with asyncio.timeout(0):
            await waiting()


@pytest.mark.parametrize("way", ["save", "flush", "finish"])
def test_a_save_that_nobody_waits_for_any_more_is_made_once(way: str) -> None:
    async def scenario() -> None:
        async with site(
            FakeStore(turns={"save": 1}), [("/(save|flush|finish)", Impatient)]
        ) as here:
            jar = await here.logged_in()
            for count in (1, 2):
                assert (await here.ask(jar, f"/{way}")).code == 200
                expected = {"n": count} | ({} if way == "finish" else {"m": count})
                assert await here.data(jar) == expected

    asyncio.run(scenario())


@pytest.mark.gen_test
async def test_a_login_that_is_stored_is_stored_once_though_the_limit_cannot_be_kept() -> None:
    store = FakeStore()
    manager = SessionManager(store, log=False, max_sessions_per_user=1)
    session = await manager.open(None)
    session.increment("n")
    await manager.commit(session)
    session.increment("n")
    session.login("ada")
    store.failing = {"find_by_user"}
    assert isinstance(await manager.commit(session), Issue)
    store.failing = ()
    assert not session.modified
    (stored,) = await manager.sessions_of("ada")
    assert dict(stored) == {"n": 2}


class DuringFlush(SessionMixin, RequestHandler):
    """Gets another id while an unawaited flush() is being stored."""

    async def get(self, deed: str) -> None:
        self.session["n"] = 1
        self.write("first")
        self.flush()
        await asyncio.sleep(0)
        match deed:
            case "login":
                self.session.login("bob")
            case "renew":
                self.session.renew()
            case "reset":
                self.session.reset()
            case "destroy":
                self.session.destroy()
        self.write("second")


@pytest.mark.parametrize(
    ("deed", "user"), [("login", "bob"), ("renew", "ada"), ("reset", None), ("destroy", None)]
)
def test_a_new_id_during_a_flush_leaves_with_its_headers(deed: str, user: str | None) -> None:
    async def scenario() -> None:
        async with site(FakeStore(turns={"save": 1}), [("/(.*)/during", DuringFlush)]) as here:
            jar = await here.logged_in()
            old = jar.copy()
            response = await here.ask(jar, f"/{deed}/during")
            assert (response.code, "Set-Cookie" in response.headers) == (200, True)
            assert await here.user(jar) == user
            assert await here.user(old) is None

    asyncio.run(scenario())


class AfterFinish(SessionMixin, RequestHandler):
    async def get(self, way: str) -> None:
        self.session.increment("n")
        self.session.append("log", "x")
        match way:
            case "then":
                self.finish("done")
                await self.save_session()
            case "beside":
                await asyncio.gather(self.save_session(), self.answer())
            case "inside":
                saving = asyncio.ensure_future(self.save_session())
                await asyncio.sleep(0)
                self.finish("done")
                await saving

    async def answer(self) -> None:
        await self.finish("done")


@pytest.mark.parametrize("way", ["then", "beside", "inside"])
def test_a_save_beside_finish_stores_once(way: str) -> None:
    async def scenario() -> None:
        async with site(FakeStore(turns={"save": 1}), [("/(.*)/finish", AfterFinish)]) as here:
            for jar in (Jar(), await here.logged_in()):
                before = await here.manager.length()
                assert (await here.ask(jar, f"/{way}/finish")).body == b"done"
                assert await here.data(jar) == {"n": 1, "log": ["x"]}
                assert await here.manager.length() <= before + 1

    asyncio.run(scenario())


class FailingThenEnding(SessionMixin, RequestHandler):
    async def get(self) -> None:
        self.session["n"] = 1
        self.write("first")
        self.settings["store"].saves_to_fail = 1
        self.flush()
        await asyncio.sleep(0)
        self.session.destroy()
        await asyncio.sleep(0.1)


class EndingThenCancelled(SessionMixin, RequestHandler):
    async def get(self, way: str) -> None:
        self.session.destroy()
        self.write("over")
        if way == "behind a flush":
            self.flush()
        async with asyncio.timeout(0):
            await self.finish()


@pytest.mark.parametrize(
    "path", ["/failing", "/cancelled/at-once", "/cancelled/behind%20a%20flush"]
)
def test_a_logout_is_final_though_what_was_under_way_fails(path: str) -> None:
    async def scenario() -> None:
        store = FakeStore(turns={"save": 1})
        routes: list[Any] = [
            ("/failing", FailingThenEnding),
            ("/cancelled/(.*)", EndingThenCancelled),
        ]
        async with site(store, routes, settings={"store": store}) as here:
            jar = await here.logged_in()
            assert (await here.ask(jar.copy(), path)).code in {200, 500, 503}
            assert await here.user(jar) is None

    asyncio.run(scenario())


class Reloading(SessionMixin, RequestHandler):
    async def get(self) -> None:
        same = self.session
        self.settings["may_renew"].set()
        await self.settings["renewed"].wait()
        await self.reload_session()
        assert self.session is same
        self.session["after"] = self.session.user_id


class Renewing(SessionMixin, RequestHandler):
    async def get(self) -> None:
        await self.settings["may_renew"].wait()
        self.session.renew()
        await self.save_session()
        self.settings["renewed"].set()


def test_a_session_is_reloaded_under_the_id_that_it_has_now(any_store: Store) -> None:
    async def scenario() -> None:
        settings = {"may_renew": asyncio.Event(), "renewed": asyncio.Event()}
        routes: list[Any] = [("/reload", Reloading), ("/renew", Renewing)]
        async with site(any_store, routes, settings=settings) as here:
            jar = await here.logged_in()
            renewing = asyncio.ensure_future(here.ask(jar, "/renew"))
            reloading = await here.ask(jar.copy(), "/reload")
            await renewing
            assert reloading.code == 200
            assert await here.data(jar) == {"after": "ada"}

    asyncio.run(scenario())


class Remembered(SessionMixin, RequestHandler):
    """Notes which handlers are still alive."""

    def initialize(self, alive: weakref.WeakSet[RequestHandler]) -> None:
        alive.add(self)

    async def get(self, way: str) -> None:
        self.session.increment("n")
        match way:
            case "flush":
                self.write("first")
                await self.flush()
            case "unawaited":
                self.finish("done")
                await asyncio.sleep(0.01)
            case "awaited":
                await self.finish("done")
            case "saved":
                await self.save_session()
            case "logout":
                self.session.destroy()


@pytest.mark.parametrize("way", ["plain", "flush", "unawaited", "awaited", "saved", "logout"])
def test_a_handler_is_freed_without_the_garbage_collector(way: str) -> None:
    async def scenario() -> None:
        alive: weakref.WeakSet[RequestHandler] = weakref.WeakSet()
        async with site(MemoryStore(), [("/(.*)/", Remembered, {"alive": alive})]) as here:
            gc.collect()
            gc.disable()
            try:
                for _ in range(5):
                    await here.ask(Jar(), f"/{way}/")
                    await asyncio.sleep(0.01)
                assert len(alive) <= 1
            finally:
                gc.enable()

    asyncio.run(scenario())
