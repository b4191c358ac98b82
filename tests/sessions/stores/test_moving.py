"""Sessions move to another store while processes work on both: none is lost, none comes back."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from schedules import GatedStore, Schedule, every_schedule

from hello_tornado.sessions import SessionManager, Store, open_store
from hello_tornado.sessions.errors import StoreError
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.records.ids import new_handle
from hello_tornado.sessions.records.record import (
    AGAIN,
    Conflict,
    Gone,
    Outcome,
    Saved,
    SessionRecord,
    Swap,
)
from hello_tornado.sessions.records.tombstones import ERA
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.stores.moving import Copied, MovingStore, copies, moving_store
from hello_tornado.sessions.testing import (
    HOUR,
    NOW,
    FaultyStore,
    StoreContract,
    make_record,
    newer,
    renewed,
)

pytestmark = pytest.mark.timeout(240)


class BegunInTheOld(MovingStore):
    """Whatever is created stands in the old store at first, as what was there before the move."""

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        outcomes = {}
        for swap in swaps:
            (outcomes[swap],) = await super().save([swap]) if swap.old else await self._begin(swap)
        return [outcomes[swap] for swap in swaps]

    async def _begin(self, swap: Swap) -> Sequence[Outcome]:
        standing = await self.load([swap.new.key])
        if standing:
            return [Conflict(standing[swap.new.key])]
        return await self._old.save([swap])


class TestANewStoreBesideAnEmptyOne(StoreContract):
    def make_store(self) -> Store:
        return moving_store(open_store("memory://"), open_store("memory://"))


class TestSessionsOfTheOldStore(StoreContract):
    def make_store(self) -> Store:
        return BegunInTheOld(open_store("memory://"), open_store("memory://"))


@dataclass
class Through:
    """A store each of whose calls waits at the gate."""

    gate: GatedStore
    store: Store
    name: str

    def __getattr__(self, verb: str) -> Any:
        function = getattr(self.store, verb)
        return lambda *args: self.gate.passing(f"{self.name}.{verb}", function(*args))


class Move:
    """A session that stands in the old store, and any number of processes that work on both."""

    def __init__(self, gate: GatedStore) -> None:
        self.gate = gate
        self.old, self.new = MemoryStore(), MemoryStore()
        self.record = make_record(user_id="ada", data=b"")

    async def begin(self, *, steps: int = 0) -> "Move":
        """After so many *steps* of four, the process that was taking the session over died."""
        await self.old.save([Swap(None, self.record)])
        place = self.record._replace(
            handle=new_handle(), version=-7, user_id=None, accessed_at=1, expires_at=1
        )
        marker = self.record._replace(
            version=-1,
            accessed_at=self.record.accessed_at - ERA,
            expires_at=self.record.expires_at - ERA,
        )
        dead_steps = [
            (self.new, Swap(None, place)),
            (self.old, Swap(self.record, marker)),
            (self.new, Swap(place, self.record)),
        ]
        for store, swap in dead_steps[:steps]:
            assert await store.save([swap]) == [Saved()]
        return self

    def process(self) -> MovingStore:
        new, old = (Through(self.gate, one, name) for one, name in self.both)
        process = MovingStore(cast("Store", new), cast("Store", old))
        process._take_over._are_two = True  # it has seen that before: fewer calls to take turns
        return process

    @property
    def both(self) -> Sequence[tuple[Store, str]]:
        return (self.new, "new"), (self.old, "old")

    async def settled(self) -> list[SessionRecord]:
        """What there is when all was moved and nobody is under way any more."""
        after = MovingStore(self.new, self.old)
        before = await after.load([one.key for one in await after.page(None, 9)])
        await moved(after)
        assert await self.old.page(None, 9) == []
        page = await after.page(None, 9)
        found = await after.load([one.key for one in page])
        assert found == before
        assert [one.facts for one in found.values()] == [*await after.find_by_user("ada")]
        return [*found.values()]


async def moved(store: MovingStore) -> int:
    return sum([count async for count in store.move(100)])


async def swapped(
    store: Store, record: SessionRecord, change: Callable[[SessionRecord], SessionRecord]
) -> SessionRecord | None:
    """What stands after a change, made as the committer does; None when the session is over."""
    while True:
        wanted = change(record)
        (outcome,) = await store.save([Swap(record, wanted)])
        match outcome:
            case Saved():
                return wanted
            case Gone():
                return None
            case Conflict(current):
                record = current


async def write(store: Store, record: SessionRecord, label: bytes) -> bool:
    """Add *label* to the data; False when the session is over."""
    done = await swapped(store, record, lambda one: newer(one, data=one.data + label))
    return done is not None


async def renew(store: Store, record: SessionRecord) -> SessionRecord | None:
    return await swapped(store, record, renewed)


Scene = Callable[[Move, Schedule], Coroutine[Any, Any, None]]


def explore(scene: Scene, *, steps: int = 0) -> None:
    async def scenario(gate: GatedStore, schedule: Schedule) -> None:
        await scene(await Move(gate).begin(steps=steps), schedule)

    async def run() -> int:
        return len([one async for one in every_schedule(MemoryStore, scenario, TURNS)])

    assert asyncio.run(run()) > 1


TURNS = 8  # of the event loop: a call is a few coroutines deep
STEPS = ["not begun", "a place", "a place and a marker", "a marker left behind"]


@pytest.fixture(params=range(4), ids=STEPS)
def steps(request: pytest.FixtureRequest) -> int:
    """How far a process came that died while it took the session over."""
    count: int = request.param
    return count


def test_two_writes_are_both_kept(steps: int) -> None:
    async def scene(move: Move, schedule: Schedule) -> None:
        one = write(move.process(), move.record, b"1")
        two = write(move.process(), move.record, b"2")
        assert await schedule.run(move.gate, one, two) == [True, True]
        (record,) = await move.settled()
        assert sorted(record.data) == sorted(b"12")
        assert (record.key, record.version) == (move.record.key, 3)

    explore(scene, steps=steps)


def test_a_write_beside_a_mover_is_kept(steps: int) -> None:
    async def scene(move: Move, schedule: Schedule) -> None:
        mover = moved(move.process())
        saved, _ = await schedule.run(move.gate, write(move.process(), move.record, b"1"), mover)
        assert saved
        (record,) = await move.settled()
        assert record.data == b"1"

    explore(scene, steps=steps)


@pytest.mark.parametrize("beside", ["write", "move", "load", "purge", "renew"])
def test_a_logout_is_final(beside: str, steps: int) -> None:
    async def scene(move: Move, schedule: Schedule) -> None:
        process = move.process()
        others: dict[str, Coroutine[Any, Any, Any]] = {
            "write": write(process, move.record, b"1"),
            "move": moved(process),
            "load": process.load([move.record.key]),
            "purge": process.purge(NOW, 9),
            "renew": renew(process, move.record),
        }
        other = others.pop(beside)
        for unused in others.values():
            unused.close()
        logout = move.process().delete([move.record.key])
        deleted, done = await schedule.run(move.gate, logout, other)
        if beside == "renew" and done is not None:
            assert deleted == set()  # so that the logout looks for the new id, by the handle
            assert await move.settled() == [done]
        else:
            assert deleted <= {move.record.key}  # not what was a marker when it was deleted
            assert await move.settled() == []

    explore(scene, steps=steps)


def test_the_old_id_of_a_renewal_stays_dead(steps: int) -> None:
    async def scene(move: Move, schedule: Schedule) -> None:
        renewing = renew(move.process(), move.record)
        helping = move.process().load([move.record.key])
        new, _ = await schedule.run(move.gate, renewing, helping)
        assert new is not None
        assert await move.settled() == [new]

    explore(scene, steps=steps)


def test_a_renewal_and_a_write_agree_on_who_was_first(steps: int) -> None:
    async def scene(move: Move, schedule: Schedule) -> None:
        renewing = renew(move.process(), move.record)
        writing = write(move.process(), move.record, b"1")
        new, saved = await schedule.run(move.gate, renewing, writing)
        assert new is not None
        assert await move.settled() == [new]
        assert new.data == (b"1" if saved else b"")

    explore(scene, steps=steps)


@pytest.mark.parametrize("look", ["load", "find_by_user", "find_by_handle", "page"])
def test_a_session_is_found_at_any_moment_of_its_move(look: str, steps: int) -> None:
    async def scene(move: Move, schedule: Schedule) -> None:
        store = move.process()
        looking = {
            "load": lambda: store.load([move.record.key]),
            "find_by_user": lambda: store.find_by_user("ada"),
            "find_by_handle": lambda: store.find_by_handle([move.record.handle]),
            "page": lambda: store.page(None, 2),
        }[look]()
        found, _ = await schedule.run(move.gate, looking, moved(move.process()))
        (one,) = found.values() if look == "load" else found
        assert one in {move.record, move.record.facts}

    explore(scene, steps=steps)


def test_what_was_purged_from_the_new_store_does_not_come_back_from_the_old(steps: int) -> None:
    async def scene(move: Move, schedule: Schedule) -> None:
        store = move.process()
        short = newer(move.record, expires_at=NOW + 1)
        move.gate.is_open = True
        assert await store.save([Swap(move.record, short)]) == [Saved()]
        await schedule.run(move.gate, store.purge(NOW + 2, 9), moved(move.process()))
        assert await move.settled() == []

    explore(scene, steps=steps)


@pytest.mark.gen_test
async def test_tombstones_and_what_has_expired_come_too() -> None:
    old, new = MemoryStore(), MemoryStore()
    store = moving_store(new, old)
    records = [make_record(expires_at=NOW + n) for n in range(250)]
    records += [
        make_record(accessed_at=NOW - ERA, created_at=NOW - ERA, expires_at=NOW + HOUR - ERA + n)
        for n in range(250)
    ]
    await old.save([Swap(None, record) for record in records])
    assert await store.count() == 250
    assert len(await store.page(None, 999)) == 500
    assert await moved(store) == 500
    assert await new.load([one.key for one in records]) == {one.key: one for one in records}
    assert await old.page(None, 9) == []


async def refused(call: Coroutine[Any, Any, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        await call


@pytest.mark.gen_test
async def test_a_store_that_is_named_twice_in_other_words_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    first, second = f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/here/../a.db"
    store = cast("MovingStore", open_store(first, moving_from=second))
    record = make_record()
    assert await store.save([Swap(None, record)]) == [Saved()]
    await refused(moved(store), "moving_from")
    assert await store.load([record.key]) == {record.key: record}
    assert await store.delete([record.key]) == {record.key}
    assert await store.page(None, 9) == []
    await store.aclose()


@pytest.mark.gen_test
async def test_what_a_process_that_died_was_moving_is_found_behind_any_tombstones() -> None:
    move = await Move(GatedStore(MemoryStore())).begin(steps=2)
    store = move.process()
    tombstones = [
        make_record(created_at=0, accessed_at=0, expires_at=move.record.expires_at - ERA - 1 - n)
        for n in range(150)
    ]
    await move.old.save([Swap(None, one) for one in tombstones])
    assert move.record.facts in await store.page(None, 999)
    assert await store.count() == 1
    move = await Move(GatedStore(MemoryStore())).begin(steps=3)
    store = move.process()
    await move.old.save([Swap(None, one) for one in tombstones])
    short = newer(move.record, expires_at=NOW + 1)
    assert await store.save([Swap(move.record, short)]) == [Saved()]
    assert await store.purge(NOW + 2, 9) == 1
    await moved(store)
    assert await store.load([move.record.key]) == {}


@pytest.mark.gen_test
async def test_a_place_that_was_left_is_no_session_of_the_next_move() -> None:
    move = await Move(GatedStore(MemoryStore())).begin(steps=1)
    third = MemoryStore()
    onward = MovingStore(third, move.new)
    assert await onward.count() == 0
    assert await onward.load([move.record.key]) == {}
    assert await onward.page(None, 9) == []
    await moved(onward)
    assert await third.page(None, 9) == await move.new.page(None, 9) == []


@pytest.mark.gen_test
async def test_a_move_that_was_not_finished_is_not_turned_round() -> None:
    move = await Move(GatedStore(MemoryStore())).begin(steps=2)
    back = MovingStore(move.old, move.new)
    message = "let moving_from and the store change places"
    await refused(back.load([move.record.key]), message)
    (outcome,) = await back.save([Swap(move.record, newer(move.record))])
    assert isinstance(outcome, StoreError)
    assert message in str(outcome)
    assert await moved(back) == 1, "the place that was kept"
    assert await move.settled() == [move.record]


class Choosy(MemoryStore):
    """A store that refuses some data for good, and with it the call."""

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        if any(new.data == b"too much" for _, new in swaps):
            raise StoreError("a record is too large")
        return await super().save(swaps)


@pytest.mark.gen_test
async def test_a_record_that_the_new_store_refuses_stays_and_holds_up_no_other() -> None:
    old, new = MemoryStore(), Choosy()
    store = MovingStore(new, old)
    good = [make_record(user_id="ada", expires_at=NOW + n) for n in range(5)]
    bad = make_record(user_id="ada", expires_at=NOW + 2, data=b"too much")
    await old.save([Swap(None, one) for one in (*good, bad)])
    await refused(moved(store), "1 records stay in the old store.*too large")
    assert await old.page(None, 9) == [bad.facts]
    assert await new.count(1) == 5
    assert len(await store.page(None, 9)) == len(await store.find_by_user("ada")) == 6
    assert await store.load([bad.key, good[0].key]) == {bad.key: bad, good[0].key: good[0]}
    assert await store.purge(NOW + 1, 9) == 3, "two, and the place that was kept for the other"
    await refused(store.save([Swap(bad, newer(bad))]), "too large")
    assert await store.delete([bad.key]) == {bad.key}
    assert await moved(store) == 0


@pytest.mark.gen_test
async def test_what_the_new_store_refuses_of_one_session_is_not_counted_twice_in_another() -> None:
    old = MemoryStore()
    new = Choosy()
    kept, refused_one = make_record(data=b""), make_record(data=b"too much")
    await new.save([Swap(None, kept)])
    await old.save([Swap(None, refused_one)])
    store = moving_store(new, old)
    changed = newer(refused_one, data=b"small")
    outcomes = await store.save([Swap(kept, newer(kept)), Swap(refused_one, changed)])
    assert outcomes[0] == Saved()
    assert isinstance(outcomes[1], StoreError)
    assert await store.load([refused_one.key]) == {refused_one.key: refused_one}


@pytest.mark.gen_test
@pytest.mark.parametrize("steps", range(4))
async def test_a_touch_is_kept_and_needs_the_old_store_only_for_what_is_in_it(steps: int) -> None:
    move = await Move(GatedStore(MemoryStore())).begin(steps=steps)
    move.gate.is_open = True
    store = move.process()
    touched = move.record._replace(accessed_at=NOW + 5, expires_at=NOW + HOUR)
    await store.touch([touched])
    assert await move.settled() == [touched]
    down = FaultyStore(move.old)
    down.fail()
    again = touched._replace(accessed_at=NOW + 9)
    await MovingStore(move.new, down).touch([again])
    assert await move.new.load([again.key]) == {again.key: again}


@pytest.mark.gen_test
async def test_a_row_that_somebody_holds_keeps_no_other_session_waiting() -> None:
    class Held(MemoryStore):
        async def save(self, swaps: Sequence[Swap], /) -> Any:
            answers = [*await super().save([one for one in swaps if one.new.key != held.key])]
            return [AGAIN if one.new.key == held.key else answers.pop(0) for one in swaps]

    held, free = make_record(), make_record()
    old = Held()
    await MemoryStore.save(old, [Swap(None, held), Swap(None, free)])
    store = moving_store(MemoryStore(), old)
    outcomes = await store.save([Swap(held, newer(held)), Swap(free, newer(free))])
    assert outcomes == [AGAIN, Saved()]


@pytest.mark.gen_test
async def test_a_copy_goes_where_a_place_was_left() -> None:
    move = await Move(GatedStore(MemoryStore())).begin(steps=1)
    assert [one async for one in copies(move.old, move.new, 9)] == [Copied(1, 0)]
    assert await move.new.load([move.record.key]) == {move.record.key: move.record}


@pytest.mark.gen_test
async def test_a_second_copy_brings_back_nothing_that_has_ended_since() -> None:
    origin = MemoryStore()
    async with SessionManager(origin, log=False) as before:
        ids = []
        for user in ("ada", "bob", "eve"):
            session = await before.open(None)
            session.login(user)
            action = await before.commit(session)
            assert isinstance(action, Issue)
            ids.append(action.session_id)
    target = MemoryStore()
    assert [one async for one in copies(origin, target, 9)] == [Copied(3, 0)]
    async with SessionManager(target, log=False) as after:
        await after.revoke_user("ada")
        session = await after.open(ids[1])
        session.renew()
        await after.commit(session)
        assert [one async for one in copies(origin, target, 9)] == [Copied(0, 3)]
        assert (await after.open(ids[0])).user_id is None
        assert (await after.open(ids[1])).user_id is None
        assert (await after.open(ids[2])).user_id == "eve"


@pytest.mark.gen_test
async def test_a_move_that_was_not_finished_is_not_copied() -> None:
    move = await Move(GatedStore(MemoryStore())).begin(steps=2)
    for store in (move.old, move.new):
        target = MemoryStore()
        with pytest.raises(StoreError, match="was not finished"):
            assert [one async for one in copies(store, target, 9)] == []
        assert await target.page(None, 9) == []


class TestFromSqliteToPostgresql(StoreContract):
    @pytest.fixture(autouse=True)
    def databases(self, tmp_path: Path, postgresql_url: str) -> None:
        self.old, self.new = f"sqlite:///{tmp_path}/sessions.db", postgresql_url

    def make_store(self) -> Store:
        return BegunInTheOld(open_store(self.new), open_store(self.old))


class TestFromRedisToRedisCluster(StoreContract):
    @pytest.fixture(autouse=True)
    def databases(self, redis_url: str, redis_cluster_url: str) -> None:
        self.old, self.new = redis_url, redis_cluster_url

    def make_store(self) -> Store:
        return BegunInTheOld(open_store(self.new), open_store(self.old))
