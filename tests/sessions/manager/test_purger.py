"""A manager purges from its first use on, in whichever event loop that is."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import pytest
from fakes import SECRET
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application

from hello_tornado.sessions import SessionHandler, SessionManager
from hello_tornado.sessions.events import LoggedIn, Purged, SessionEvent
from hello_tornado.sessions.stores.memory import MemoryStore

OFTEN = timedelta(milliseconds=1)


async def purged(told: "asyncio.Queue[SessionEvent]") -> None:
    while await told.get() != Purged(0):
        pass


def manager_that_tells(
    purge_every: timedelta | None = OFTEN,
) -> "tuple[SessionManager, asyncio.Queue[SessionEvent]]":
    told: asyncio.Queue[SessionEvent] = asyncio.Queue()
    return SessionManager("memory://", hooks=[told.put_nowait], purge_every=purge_every), told


def test_a_manager_that_was_made_before_the_loop_purges_in_it() -> None:
    """And in the next one, as in the next test of somebody's suite."""
    manager, _ = manager_that_tells()

    async def use() -> None:
        told: asyncio.Queue[SessionEvent] = asyncio.Queue()
        manager.on(Purged)(told.put_nowait)
        await manager.open(None)
        await asyncio.wait_for(purged(told), 10)

    for _ in range(2):
        asyncio.run(use())
    asyncio.run(manager.aclose())


async def opened(manager: SessionManager) -> None:
    await manager.open(None)


async def in_a_transaction(manager: SessionManager) -> None:
    async with manager.transaction(None):
        pass


@pytest.mark.gen_test
@pytest.mark.parametrize("use", [opened, in_a_transaction])
async def test_whichever_way_a_session_is_opened_is_use(
    use: Callable[[SessionManager], Awaitable[None]],
) -> None:
    manager, told = manager_that_tells()
    await use(manager)
    await asyncio.wait_for(purged(told), 10)
    await manager.aclose()


@pytest.mark.gen_test
async def test_one_that_is_closed_or_never_purges_has_no_timer() -> None:
    for every in (None, timedelta(hours=1)):
        async with manager_that_tells(every)[0] as manager:
            await manager.open(None)
            assert (manager._purger._periodic is None) == (every is None)
        assert manager._purger._periodic is None


@pytest.mark.gen_test
async def test_the_end_of_the_block_closes_the_store() -> None:
    class Noting(MemoryStore):
        is_closed = False

        async def aclose(self) -> None:
            self.is_closed = True

    store = Noting()
    with suppress(ZeroDivisionError):
        async with SessionManager(store) as manager:
            assert manager.store is store
            raise ZeroDivisionError
    assert store.is_closed


class Login(SessionHandler):
    def post(self) -> None:
        self.session.login("ada")
        self.session["n"] = 1


class TestEventsOfAKind(AsyncHTTPTestCase):
    def get_app(self) -> Application:
        self.manager = SessionManager("memory://")
        self.told: list[str] = []

        @self.manager.on(LoggedIn)
        def note(event: LoggedIn) -> None:
            self.told.append(event.user_id)

        self.note = note
        return Application([("/", Login)], cookie_secret=SECRET, session_manager=self.manager)

    def test_only_those_are_told_and_the_function_stays_as_it_was(self) -> None:
        assert self.fetch("/", method="POST", body="").code == 200
        assert self.told == ["ada"]
        self.note(LoggedIn("a-handle", "bob"))
        assert self.told == ["ada", "bob"]
