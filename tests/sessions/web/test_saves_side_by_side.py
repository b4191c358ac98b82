"""Saves of a request that run side by side, are cancelled, or come after its end: none is lost."""

import asyncio
from contextlib import suppress
from typing import ClassVar

import pytest
from fakes import FakeStore
from sites import Jar, site

from hello_tornado.sessions import Session, SessionHandler, Store
from hello_tornado.sessions.errors import StoreUnavailable


class Saving(SessionHandler):
    """Counts to five in one way or another."""

    async def post(self, deed: str) -> None:
        await getattr(self, deed)(self.session)

    async def gather(self, session: Session) -> None:
        async def count() -> None:
            session.increment("n")
            await self.save_session()

        await asyncio.gather(*(count() for _ in range(5)))

    async def cancel(self, session: Session) -> None:
        session.increment("n", 2)
        saving = asyncio.create_task(self.save_session())
        await asyncio.sleep(0)
        saving.cancel()
        session.increment("n", 3)
        with suppress(asyncio.CancelledError):
            await saving

    async def time_out(self, session: Session) -> None:
        session.increment("n", 5)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.save_session(), 0)

    async def flush_and_save(self, session: Session) -> None:
        session.increment("n", 2)
        self.write("first")
        self.flush()
        session.increment("n", 3)
        await self.save_session()

    async def flush_twice(self, session: Session) -> None:
        session.increment("n")
        self.write("first")
        self.flush()
        session.increment("n", 4)
        self.flush()
        self.finish("last")

    async def finish_and_save(self, session: Session) -> None:
        session.increment("n", 5)
        self.finish("last")
        await self.save_session()

    async def save_in_the_background(self, session: Session) -> None:
        session.increment("n", 2)
        self._saving = asyncio.create_task(self.save_session())
        session.increment("n", 3)

    async def save_in_the_background_and_finish(self, session: Session) -> None:
        await self.save_in_the_background(session)
        await asyncio.sleep(0)
        self.finish("last")

    async def save_in_the_background_and_fail(self, session: Session) -> None:
        session.increment("n", 5)
        self._saving = asyncio.create_task(self.save_session())
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def end_and_save_in_the_background(self, session: Session) -> None:
        session.increment("n")
        self._saving = asyncio.create_task(self.save_session())
        await asyncio.sleep(0)
        session.destroy()


ENDING = "end_and_save_in_the_background"
DEEDS = [name for name in vars(Saving) if not name.startswith("_") and name not in {"post", ENDING}]


@pytest.mark.parametrize("deed", DEEDS)
def test_what_was_counted_is_stored_once(any_store: Store, deed: str) -> None:
    async def scenario() -> None:
        async with site(any_store, [("/do/(.*)", Saving)]) as here:
            jar = await here.logged_in()
            answer = await here.ask(jar, f"/do/{deed}", "POST")
            assert answer.code == (500 if deed.endswith("fail") else 200)
            assert await here.data(jar) == {"n": 5}

    asyncio.run(scenario())


def test_a_logout_beside_a_save_is_final(any_store: Store) -> None:
    async def scenario() -> None:
        async with site(any_store, [("/do/(.*)", Saving)]) as here:
            jar: Jar = await here.logged_in()
            assert (await here.ask(jar, f"/do/{ENDING}", "POST", take=False)).code == 200
            assert await here.user(jar) is None

    asyncio.run(scenario())


class Cancelled(SessionHandler):
    """Its task is cancelled while the end of the response waits for a save."""

    async def post(self, deed: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.settings["tasks"].append(task)
        self.session.increment("n", 2)
        self._saving = asyncio.create_task(self.save_session())
        await asyncio.sleep(0)
        if deed == "logout":
            self.session.destroy()
        else:
            self.session.increment("n", 3)


@pytest.mark.parametrize("deed", ["count", "logout"])
def test_a_request_that_is_cancelled_while_it_waits_for_a_save_is_answered(deed: str) -> None:
    async def scenario() -> None:
        store, tasks = FakeStore(), list[asyncio.Task[None]]()
        routes, settings = [("/do/(.*)", Cancelled)], {"tasks": tasks}
        async with site(store, routes, settings=settings) as here:
            jar = await here.logged_in()
            store.is_saving.clear()
            store.may_save.clear()
            asking = asyncio.create_task(here.ask(jar, f"/do/{deed}", "POST", take=False))
            await store.is_saving.wait()
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.sleep(0)
            store.may_save.set()
            answer = await asyncio.wait_for(asking, 10)
            assert answer.code == 200
            if deed == "logout":
                assert "Max-Age=0" in answer.headers["Set-Cookie"]
                assert await here.user(jar) is None
            else:
                assert await here.data(jar) == {"n": 5}

    asyncio.run(scenario())


class SavingBehindAFailure(SessionHandler):
    async def post(self) -> None:
        self.session["x"] = 1
        self.write("first")
        self.flush()
        self.session["y"] = 2
        await self.save_session()


class UpdatingBehindAFailure(SessionHandler):
    async def post(self) -> None:
        self.session["x"] = 1
        self.write("first")
        self.flush()
        await self.update_session(lambda session: session.increment("y"))


@pytest.mark.parametrize("handler", [SavingBehindAFailure, UpdatingBehindAFailure])
def test_behind_a_flush_that_failed_nothing_is_stored(handler: type[SessionHandler]) -> None:
    """The answer is a 503, so nothing of it may be there."""

    async def scenario() -> None:
        store = FakeStore()
        async with site(store, [("/do", handler)]) as here:
            jar = await here.logged_in()
            store.saves_to_fail = 1
            assert (await here.ask(jar, "/do", "POST")).code == 503
            assert await here.data(jar) == {}

    asyncio.run(scenario())


class Ending(SessionHandler):
    """Leaves steps of its response behind, the first of which fails."""

    ended: ClassVar[list[str]] = []

    async def get(self, deed: str) -> None:
        self.session.increment("n")
        self.write("first")
        getattr(self, deed)()
        self.write("more")

    def flush_twice(self) -> None:
        self.flush()
        self.flush()

    def flush_and_finish(self) -> None:
        self.flush()
        self.finish("last")

    def fail_after_a_flush(self) -> None:
        self.flush()
        raise StoreUnavailable("the store is down, too")

    def on_finish(self) -> None:
        self.ended.append(self.request.path)


@pytest.mark.parametrize("deed", ["flush_twice", "flush_and_finish", "fail_after_a_flush"])
@pytest.mark.gen_test
async def test_a_response_that_fails_ends_once(deed: str, caplog: pytest.LogCaptureFixture) -> None:
    """What was begun of it before is not sent any more: the next response is the next one's."""
    Ending.ended.clear()
    store = FakeStore()
    async with site(store, [("/ending/(.*)", Ending)], log=False) as app:
        jar = await app.logged_in()
        store.saves_to_fail = 1
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        for path, end in ((f"/ending/{deed}", ""), ("/show", "Connection: close\r\n")):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {jar}\r\n{end}\r\n".encode())
        answers = (await asyncio.wait_for(reader.read(), 10)).split(b"HTTP/1.1 ")
        writer.close()
        await writer.wait_closed()
    assert [answer[:3] for answer in answers] == [b"", b"503", b"200"]
    assert answers[2].endswith(b'{"user": "ada", "data": {}}')
    assert answers[1].count(b"</html>") == 1
    assert answers[1].endswith((b"</html>", b"</html>\r\n0\r\n\r\n"))
    assert Ending.ended == [f"/ending/{deed}"]
    told = [one for one in caplog.messages if "the store is down" in one]
    assert len(told) == 1
