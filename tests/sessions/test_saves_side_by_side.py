"""Saves of a request that run side by side, are cancelled, or come after its end: none is lost."""

import asyncio
from contextlib import suppress

import pytest
from sites import Jar, site

from hello_tornado.sessions import Session, SessionHandler, Store


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
