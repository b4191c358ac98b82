"""Commits of many requests in one save: nobody pays for a neighbour, and order is kept."""

import asyncio
from collections.abc import Sequence

import pytest
from fakes import FakeStore
from managing import stored

from hello_tornado.sessions import Session, SessionManager
from hello_tornado.sessions.errors import SessionTooLarge, StoreError
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.records.ids import SessionId, SessionKey
from hello_tornado.sessions.records.record import Conflict, Outcome, Swap
from hello_tornado.sessions.stores.memory import MemoryStore

pytestmark = pytest.mark.gen_test


def writing(session: Session, **values: object) -> Session:
    session.update(values)
    return session


async def test_what_cannot_be_stored_costs_other_sessions_nothing() -> None:
    store = FakeStore()
    manager = SessionManager(store, max_bytes=500, log=False)
    sessions = [await manager.open(await stored(manager, made=True)) for _ in range(10)]
    store.sizes.clear()
    results = await asyncio.gather(
        *(
            manager.commit(writing(session, text="x" * (1000 if place == 3 else 10)))
            for place, session in enumerate(sessions)
        ),
        return_exceptions=True,
    )
    failed = [place for place, one in enumerate(results) if isinstance(one, BaseException)]
    assert failed == [3]
    assert isinstance(results[3], SessionTooLarge)
    assert store.sizes == [("save", 9)]


async def test_what_cannot_be_stored_fails_alone_in_its_own_session() -> None:
    store = FakeStore()
    manager = SessionManager(store, max_bytes=500, log=False)
    session_id, other_id = await stored(manager, made=True), await stored(manager, made=True)
    big, small = await manager.open(session_id), await manager.open(session_id)
    other = await manager.open(other_id)
    results = await asyncio.gather(
        manager.commit(writing(big, big="x" * 1000)),
        manager.commit(writing(small, small=1)),
        manager.commit(writing(other, small=2)),
        return_exceptions=True,
    )
    assert [isinstance(one, SessionTooLarge) for one in results] == [True, False, False]
    assert dict(await manager.open(session_id)) == {"made": True, "small": 1}
    assert dict(await manager.open(other_id)) == {"made": True, "small": 2}


async def test_after_a_conflict_the_later_commit_still_wins() -> None:
    store = FakeStore()
    manager, elsewhere = SessionManager(store, log=False), SessionManager(store, hooks=())
    session_id = await stored(manager, made=True)
    first = await manager.open(session_id)
    await elsewhere.commit(writing(await elsewhere.open(session_id), theirs=1))
    later = await manager.open(session_id)
    store.is_saving.clear()
    store.may_answer.clear()
    first_commit = asyncio.ensure_future(manager.commit(writing(first, x="first", first=1)))
    await store.is_saving.wait()
    later_commit = asyncio.ensure_future(manager.commit(writing(later, x="later")))
    await asyncio.sleep(0)
    store.may_answer.set()
    await asyncio.gather(first_commit, later_commit)
    found = dict(await manager.open(session_id))
    assert found == {"made": True, "theirs": 1, "first": 1, "x": "later"}


async def test_who_leaves_during_a_conflict_takes_nothing_along() -> None:
    store = FakeStore()
    manager, elsewhere = SessionManager(store, log=False), SessionManager(store, hooks=())
    session_id = await stored(manager, made=True)
    mine = writing(await manager.open(session_id), mine=1)
    await elsewhere.commit(writing(await elsewhere.open(session_id), theirs=1))
    store.is_saving.clear()
    store.may_answer.clear()
    leaving = asyncio.ensure_future(manager.commit(mine))
    await store.is_saving.wait()
    leaving.cancel()
    store.may_answer.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await manager.commit(writing(await manager.open(session_id), after=1))
    assert dict(await manager.open(session_id)) == {
        "made": True,
        "theirs": 1,
        "mine": 1,
        "after": 1,
    }


async def test_a_store_that_reports_nothing_but_conflicts_is_found_out() -> None:
    class Confused(MemoryStore):
        async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
            if any(swap.old is None for swap in swaps):
                return await super().save(swaps)
            return [Conflict(swap.old) for swap in swaps if swap.old is not None]

    manager = SessionManager(Confused(), log=False)
    session = await manager.open(await stored(manager, made=True))
    with pytest.raises(StoreError, match="conflicts in a row"):
        await manager.commit(writing(session, x=1))
    assert manager._writer._committer._standing == {}


async def test_nothing_is_kept_of_what_was_stored() -> None:
    store = FakeStore()
    manager = SessionManager(store, log=False)
    session_id = await stored(manager, made=True)
    sessions = [await manager.open(session_id) for _ in range(3)]
    store.is_saving.clear()
    store.may_answer.clear()
    commits = [asyncio.ensure_future(manager.commit(writing(sessions[0], a=1)))]
    await store.is_saving.wait()
    commits += [asyncio.ensure_future(manager.commit(writing(one, b=1))) for one in sessions[1:]]
    await asyncio.sleep(0)
    store.may_answer.set()
    await asyncio.gather(*commits)
    saves = [size for verb, size in store.sizes if verb == "save"]
    assert saves == [1, 1, 1], "who waited goes on from what was stored, without a conflict"
    assert manager._writer._committer._standing == {}


class TwoServers(MemoryStore):
    """A store whose sessions go to its other server with each save."""

    def __init__(self) -> None:
        super().__init__()
        self.placement, self.server = self, 0

    def partition_of(self, _key: SessionKey, /) -> int:
        return 0

    def server_of(self, _key: SessionKey, /) -> int:
        return self.server

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        outcomes = await super().save(swaps)
        self.server += 1
        return outcomes


@pytest.mark.gen_test
async def test_sessions_that_change_their_server_are_stored_once() -> None:
    async with SessionManager(TwoServers(), log=False) as manager:
        ids = []
        for _ in range(20):
            session = await manager.open(None)
            session["n"] = 0
            action = await manager.commit(session)
            assert isinstance(action, Issue)
            ids.append(action.session_id)

        async def count(session_id: SessionId) -> None:
            session = await manager.open(session_id)
            session.increment("n")
            await manager.commit(session)

        await asyncio.gather(*(count(session_id) for session_id in ids * 3))
        counts = [(await manager.open(session_id))["n"] for session_id in ids]
        assert counts == [3] * 20
