"""One manager in several event loops, one after the other, and in the children of a fork."""

import asyncio
import gc
import json
import os
from collections.abc import Callable, Iterator

import pytest
from managing import stored
from sqlalchemy.ext.asyncio import create_async_engine

from hello_tornado.sessions import SessionManager, SqlStore, Store
from hello_tornado.sessions.records.ids import SessionId

pytestmark = [
    # What an event loop leaves behind that was closed with connections open.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
TURNS = 30


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What is left behind is collected here, and not in the middle of another test."""
    yield
    gc.collect()


def test_a_manager_works_in_one_event_loop_after_another(make_store: Callable[[], Store]) -> None:
    manager = SessionManager(make_store(), log=False)

    async def turn() -> int:
        session = await manager.open(await stored(manager, who=1, n=0))
        session.increment("n")
        await manager.commit(session)
        assert len(await manager.sessions_of("nobody")) == 0
        return int((await manager.reload(session))["n"])

    assert [asyncio.run(asyncio.wait_for(turn(), 10)) for _ in range(3)] == [1, 1, 1]
    asyncio.run(manager.aclose())


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "postgresql+asyncpg", "mariadb+asyncmy"])
def test_so_does_a_store_in_an_applications_engine(
    request: pytest.FixtureRequest, driver: str
) -> None:
    name = driver.partition("+")[0]
    url: str = request.getfixturevalue(f"{name}_url")
    engine = create_async_engine(url.replace(name, driver, 1))
    manager = SessionManager(SqlStore.from_engine(engine), log=False)

    async def turn() -> int:
        await stored(manager, who=1, n=0)
        return await manager.length()

    assert [asyncio.run(asyncio.wait_for(turn(), 10)) for _ in range(3)] == [1, 2, 3]
    asyncio.run(manager.aclose())


def test_the_children_of_a_fork_speak_on_connections_of_their_own(
    make_store: Callable[[], Store],
) -> None:
    manager = SessionManager(make_store(), log=False)

    async def begin() -> list[SessionId]:
        return [await stored(manager, who=who, n=0) for who in range(2)]

    async def work(who: int) -> list[int]:
        seen = []
        for _ in range(TURNS):
            session = await manager.open(ids[who])
            seen.append(session.get("who"))
            session.increment("n")
            await manager.commit(session)
        return seen

    ids = asyncio.run(begin())
    reading, writing = os.pipe()
    children = []
    for who in range(2):
        if (child := os.fork()) == 0:
            try:
                seen = asyncio.run(asyncio.wait_for(work(who), 20))
                os.write(writing, json.dumps([who, seen]).encode() + b"\n")
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        answers = sorted(json.loads(line) for line in lines)
    assert answers == [[0, [0] * TURNS], [1, [1] * TURNS]]

    async def counts() -> list[int]:
        return [(await manager.open(one))["n"] for one in ids]

    assert asyncio.run(counts()) == [TURNS, TURNS], "the parent's own connection still works"
    asyncio.run(manager.aclose())
