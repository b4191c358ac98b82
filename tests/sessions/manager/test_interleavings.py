"""What must hold in every order in which the store calls of two requests can happen."""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from every_store import EVERY, UrlOf
from schedules import GatedStore, Scenario, Schedule, every_schedule

from hello_tornado.sessions import Lifetimes, Session, SessionManager, Store, open_store
from hello_tornado.sessions.manager.actions import Clear, Issue, Keep
from hello_tornado.sessions.records.ids import SessionId, key_of, new_handle
from hello_tornado.sessions.testing import NOW

MakeStore = Callable[[], Store]

pytestmark = pytest.mark.timeout(240)  # there are hundreds of schedules, each on a real store


# In one process, commits are folded before any store sees them: two kinds of store show that.
WHERE = [("memory", 1), ("sqlite", 1)] + [(kind, 2) for kind in EVERY]


@pytest.fixture(params=WHERE, ids=[f"{kind}, {count} processes" for kind, count in WHERE])
def where(request: pytest.FixtureRequest) -> tuple[str, int]:
    """On which store, and in how many processes."""
    kind, count = request.param
    return kind, count


@pytest.fixture
def make_store(where: tuple[str, int], url_of: UrlOf, tmp_path: Path) -> MakeStore:
    numbers, (kind, _) = itertools.count(), where
    if kind == "sqlite":
        return lambda: open_store(f"sqlite:///{tmp_path}/{next(numbers)}.db")
    url = url_of(kind)
    return lambda: open_store(url)


class Visitors:
    """A person with a stored session, and two requests of theirs that come at once.

    In one process they share a manager; in two, only the store.
    """

    def __init__(self, store: GatedStore, processes: int) -> None:
        self.gate = store
        self.store = cast("Store", store)
        self.now = NOW
        self.user = f"ada {new_handle()}"
        managers = [
            SessionManager(self.store, clock=lambda: self.now, lifetimes=Lifetimes(), log=False)
            for _ in range(processes)
        ]
        self.first, self.second = managers[0], managers[-1]

    async def log_in(self, **data: Any) -> None:
        await self.begin(self.user, **data)

    async def begin(self, user: str | None = None, **data: Any) -> None:
        session = await self.first.open(None)
        session.update(data)
        if user is not None:
            session.login(user)
        action = await self.first.commit(session)
        assert isinstance(action, Issue)
        self.session_id = action.session_id
        self.handle = session.handle or ""

    async def request(
        self,
        manager: SessionManager,
        handler: Callable[[Session], object],
        *,
        comes_late: bool = False,
    ) -> Any:
        """What a request's commit says; None if its session is gone, unless *comes_late*."""
        await self.gate.moment("arrive")
        session = await manager.open(self.session_id)
        if session.is_new and not comes_late:
            return None
        await self.gate.moment("handle")
        handler(session)
        return await manager.commit(session)

    async def update(self, manager: SessionManager, function: Callable[[Session], object]) -> Any:
        await self.gate.moment("arrive")
        session = await manager.update(self.handle, function)
        return dict(session or {})

    async def data(self, session_id: SessionId | None = None) -> dict[str, Any] | None:
        session = await self.second.open(session_id or self.session_id)
        return None if session.is_new else dict(session)

    async def descendants(self) -> int:
        return len(await self.second.sessions_of(self.user))


@pytest.fixture
def processes(where: tuple[str, int]) -> int:
    return where[1]


def explore(make_store: MakeStore, scenario: Scenario) -> list[Schedule]:
    async def run() -> list[Schedule]:
        return [schedule async for schedule in every_schedule(make_store, scenario)]

    schedules = asyncio.run(run())
    assert len({tuple(schedule.taken) for schedule in schedules}) == len(schedules) > 1
    return schedules


def test_a_save_never_brings_back_what_was_logged_out(
    make_store: MakeStore, processes: int
) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in()
        _, logout = await schedule.run(
            store,
            visitors.request(visitors.first, lambda session: session.update(a=1)),
            visitors.request(visitors.second, Session.destroy),
        )
        assert isinstance(logout, Clear)
        assert await visitors.data() is None
        assert await visitors.descendants() == 0

    explore(make_store, scenario)


def test_a_logout_also_ends_what_was_renewed_beside_it(
    make_store: MakeStore, processes: int
) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in()
        _, logout = await schedule.run(
            store,
            visitors.request(visitors.first, Session.renew),
            visitors.request(visitors.second, Session.destroy),
        )
        # A logout that comes with an id which is dead by then finds nothing that it could end.
        assert await visitors.descendants() == (1 if logout is None else 0)

    explore(make_store, scenario)


def test_of_two_renewals_one_lives(make_store: MakeStore, processes: int) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in(a=1)
        actions = await schedule.run(
            store,
            visitors.request(visitors.first, Session.renew),
            visitors.request(visitors.second, Session.renew),
        )
        issued = [action.session_id for action in actions if isinstance(action, Issue)]
        assert [action for action in actions if not isinstance(action, Issue)] in ([Keep()], [None])
        assert await visitors.data() is None
        assert await visitors.data(issued[0]) == {"a": 1}
        assert await visitors.descendants() == 1

    explore(make_store, scenario)


def test_what_is_saved_beside_a_renewal_is_in_it_or_nowhere(
    make_store: MakeStore, processes: int
) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in()
        renewal, _ = await schedule.run(
            store,
            visitors.request(visitors.first, Session.renew),
            visitors.request(visitors.second, lambda session: session.update(a=1)),
        )
        assert isinstance(renewal, Issue)
        assert await visitors.data() is None
        assert await visitors.data(renewal.session_id) in ({}, {"a": 1})
        assert await visitors.descendants() == 1

    explore(make_store, scenario)


def test_a_touch_beside_a_purge_keeps_all_or_creates_nothing(
    make_store: MakeStore, processes: int
) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in(a=1)
        visitors.now += 3_600_000_000 - 1  # the last microsecond of its life
        opened = await visitors.first.open(visitors.session_id)
        visitors.now += 1
        _, purged = await schedule.run(
            store, visitors.first.commit(opened), visitors.second.purge()
        )
        assert await visitors.data() == ({"a": 1} if purged == 0 else None)
        assert len(await visitors.store.load([key_of(visitors.session_id)])) == 1 - purged

    explored = explore(make_store, scenario)
    assert {tuple(schedule.trace) for schedule in explored} == {
        ("touch", "purge", "page"),
        ("purge", "touch", "page"),
        ("purge", "page", "touch"),
    }


def test_nothing_of_two_saves_is_lost(make_store: MakeStore, processes: int) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in(n=1, cart={})

        def handler(key: str) -> Callable[[Session], None]:
            def handle(session: Session) -> None:
                session.increment("n")
                session.append("all", key)
                session["cart"][key] = True
                session[key] = True

            return handle

        await schedule.run(
            store,
            visitors.request(visitors.first, handler("a")),
            visitors.request(visitors.second, handler("b")),
        )
        data = await visitors.data()
        assert data is not None
        assert sorted(data.pop("all")) == ["a", "b"]
        assert data == {"n": 3, "cart": {"a": True, "b": True}, "a": True, "b": True}

    explore(make_store, scenario)


def test_a_pure_function_is_applied_exactly_once_each(
    make_store: MakeStore, processes: int
) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in(left=1)

        def taking(name: str) -> Callable[[Session], None]:
            def take_one(session: Session) -> None:
                if session["left"] > 0:
                    session["left"] -= 1
                    session.append("takers", name)

            return take_one

        told = await schedule.run(
            store,
            visitors.update(visitors.first, taking("a")),
            visitors.update(visitors.second, taking("b")),
        )
        data = await visitors.data()
        assert data in ({"left": 0, "takers": ["a"]}, {"left": 0, "takers": ["b"]})
        assert told == [data, data], "each is told what stands"

    explore(make_store, scenario)


def test_a_change_beside_a_renewal_follows_the_session(
    make_store: MakeStore, processes: int
) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in(n=1)

        def change(session: Session) -> None:
            session.increment("n")
            session.setdefault("cart", {})["a"] = 1

        renewal, changed = await schedule.run(
            store,
            visitors.request(visitors.first, Session.renew),
            visitors.request(visitors.second, change),
        )
        assert isinstance(renewal, Issue)
        assert await visitors.data() is None
        # It was loaded before the renewal, and then it follows; or it came after it.
        expected = {"n": 1} if changed is None else {"n": 2, "cart": {"a": 1}}
        assert changed in (None, Keep())
        assert await visitors.data(renewal.session_id) == expected
        assert await visitors.descendants() == 1

    explore(make_store, scenario)


def test_a_change_beside_a_login_is_in_it_or_nowhere(make_store: MakeStore, processes: int) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.begin(n=1)
        living = await visitors.second.length()
        login, changed = await schedule.run(
            store,
            visitors.request(visitors.first, lambda session: session.login(visitors.user)),
            visitors.request(
                visitors.second, lambda session: session.increment("n"), comes_late=True
            ),
        )
        assert isinstance(login, Issue)
        assert changed == Keep(), "its cookie would replace that of the login"
        assert await visitors.data() is None
        assert await visitors.data(login.session_id) in ({"n": 1}, {"n": 2})
        assert await visitors.second.length() == living

    explore(make_store, scenario)


def test_a_logout_ends_what_was_renewed_before_and_beside_it(
    make_store: MakeStore, processes: int
) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in()
        _, logout = await schedule.run(
            store,
            visitors.request(visitors.first, Session.renew),
            visitors.request(visitors.second, Session.destroy, comes_late=True),
        )
        assert logout == Clear()
        assert await visitors.descendants() == 0

    explore(make_store, scenario)


def test_of_two_equal_logins_each_logs_in(make_store: MakeStore, processes: int) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.begin(n=1)

        def log_in(session: Session) -> None:
            session.login(visitors.user)

        actions = await schedule.run(
            store,
            visitors.request(visitors.first, log_in, comes_late=True),
            visitors.request(visitors.second, log_in, comes_late=True),
        )
        assert all(isinstance(action, Issue) for action in actions)
        for action in actions:
            assert await visitors.data(action.session_id) == {"n": 1}
        assert await visitors.data() is None

    explore(make_store, scenario)


def test_a_logout_after_a_save_is_final(make_store: MakeStore, processes: int) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in()

        async def save_and_log_out(manager: SessionManager) -> Any:
            session = await manager.open(visitors.session_id)
            session["last"] = 1
            await manager.commit(session)
            session.destroy()
            return await manager.commit(session)

        _, logout = await schedule.run(
            store,
            visitors.request(visitors.first, Session.renew),
            save_and_log_out(visitors.second),
        )
        assert logout == Clear()
        assert await visitors.descendants() == 0

    explore(make_store, scenario)


def test_first_adds_to_a_container_are_all_kept(make_store: MakeStore, processes: int) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in()

        def adding(key: str) -> Callable[[Session], None]:
            def add(session: Session) -> None:
                session.setdefault("cart", {})[key] = 1
                session.setdefault("tags", set()).add(key)
                session.setdefault("shop", {}).setdefault("log", []).append(key)

            return add

        await schedule.run(
            store,
            visitors.request(visitors.first, adding("a")),
            visitors.request(visitors.second, adding("b")),
        )
        data = await visitors.data()
        assert data is not None
        assert sorted(data["shop"].pop("log")) == ["a", "b"]
        assert data == {"cart": {"a": 1, "b": 1}, "tags": {"a", "b"}, "shop": {}}

    explore(make_store, scenario)


def test_a_logout_is_final_for_a_login_that_is_under_way(
    make_store: MakeStore, processes: int
) -> None:
    async def scenario(store: GatedStore, schedule: Schedule) -> None:
        visitors = Visitors(store, processes)
        await visitors.log_in()
        logout, _ = await schedule.run(
            store,
            visitors.request(visitors.first, Session.destroy),
            visitors.request(visitors.second, lambda session: session.login(visitors.user)),
        )
        # A logout that comes with an id which is dead by then finds nothing that it could end.
        assert await visitors.descendants() == (1 if logout is None else 0)

    explore(make_store, scenario)
