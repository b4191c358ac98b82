"""The service: what an open and a commit cost, what they promise, and what they tell."""

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import pytest
from fakes import FakeStore
from managing import stored

from hello_tornado.sessions import Lifetimes, Session, SessionManager, open_store
from hello_tornado.sessions.errors import (
    ConfigurationError,
    ReadOnly,
    SerializationError,
    SessionTooLarge,
    SessionUnreadable,
    StoreError,
    StoreTimeout,
)
from hello_tornado.sessions.events import (
    CommitDropped,
    Created,
    Ended,
    LoggedIn,
    Purged,
    PurgeFailed,
    RecordUnreadable,
    Renewed,
    SessionEvent,
    TouchFailed,
)
from hello_tornado.sessions.manager.actions import Clear, Issue, Keep
from hello_tornado.sessions.records.ids import SessionId, key_of, new_session_id
from hello_tornado.sessions.records.lifetimes import moment_of
from hello_tornado.sessions.records.record import Swap
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.testing import make_record

pytestmark = pytest.mark.gen_test


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(turns={"save": 1})


@pytest.fixture
def events() -> list[SessionEvent]:
    return []


@pytest.fixture
def manager(store: FakeStore, clock: Any, events: list[SessionEvent]) -> SessionManager:
    return SessionManager(store, clock=clock, hooks=[events.append])


async def test_a_session_is_created_when_it_is_written_to(
    manager: SessionManager, store: FakeStore, events: list[SessionEvent]
) -> None:
    session = await manager.open(None)
    assert await manager.commit(session) == Keep()
    assert store.sizes == []
    session["a"] = 1
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    assert store.sizes == [("save", 1)]
    assert events == [Created(session.handle or "", None)]
    assert not session.is_new
    assert not session.modified
    again = await manager.open(action.session_id)
    assert (dict(again), again.handle) == ({"a": 1}, session.handle)


async def test_only_the_hash_of_the_id_is_stored(manager: SessionManager, store: FakeStore) -> None:
    session_id = await stored(manager, a=1)
    (record,) = (await store.load([key_of(session_id)])).values()
    assert len(record.key) == 32
    assert session_id not in repr(record)


async def test_an_unknown_id_is_never_adopted(manager: SessionManager) -> None:
    chosen = new_session_id()
    session = await manager.open(chosen)
    assert session.is_new
    session["a"] = 1
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    assert action.session_id != chosen
    assert (await manager.open(chosen)).is_new


async def test_both_timeouts_hold(manager: SessionManager, clock: Any) -> None:
    session_id = await stored(manager, a=1)
    clock.advance(minutes=59, seconds=59)
    assert not (await manager.open(session_id)).is_new
    clock.advance(seconds=1)
    assert (await manager.open(session_id)).is_new
    session_id = await stored(manager, a=1)
    for _ in range(47):
        clock.advance(minutes=30)
        session = await manager.open(session_id)
        assert not session.is_new
        await manager.commit(session)
    clock.advance(minutes=30)
    assert (await manager.open(session_id)).is_new, "after 24 hours in constant use"


async def test_a_touch_comes_at_most_once_in_an_interval(
    manager: SessionManager, store: FakeStore, clock: Any
) -> None:
    session_id = await stored(manager, a=1)
    store.sizes.clear()
    for _ in range(12):
        clock.advance(seconds=10)
        session = await manager.open(session_id)
        assert await manager.commit(session) == Keep()
    assert [verb for verb, _ in store.sizes].count("touch") == 2
    assert ("save", 1) not in store.sizes
    assert session.expires_in == timedelta(hours=1)


async def test_touch_counts_as_use_at_once(
    manager: SessionManager, store: FakeStore, clock: Any
) -> None:
    session_id = await stored(manager, a=1)
    clock.advance(seconds=1)
    session = await manager.open(session_id)
    session.touch()
    await manager.commit(session)
    assert store.sizes[-1] == ("touch", 1)
    clock.advance(minutes=59, seconds=59)
    assert not (await manager.open(session_id)).is_new


async def test_a_failed_touch_is_told_and_no_more(
    manager: SessionManager, store: FakeStore, clock: Any, events: list[SessionEvent]
) -> None:
    session = await manager.open(await stored(manager, a=1))
    clock.advance(minutes=2)
    store.failing = {"touch"}
    assert await manager.commit(session) == Keep()
    assert events[-1] == TouchFailed(session.handle or "", "the store is down")


async def test_a_session_may_have_a_length_of_its_own(manager: SessionManager, clock: Any) -> None:
    session = await manager.open(await stored(manager, a=1))
    session.idle_timeout = timedelta(minutes=5)
    await manager.commit(session)
    assert session.expires_in == timedelta(minutes=5)
    clock.advance(minutes=4)
    assert len(await manager.sessions_of("nobody")) == 0
    assert session.record is not None
    assert not (await manager.reload(session)).is_new
    clock.advance(minutes=1)
    assert (await manager.reload(session)).ended


async def test_requests_of_one_moment_share_one_load_and_one_save(
    manager: SessionManager, store: FakeStore
) -> None:
    ids = [await stored(manager, n=n) for n in range(20)]
    store.sizes.clear()
    sessions = await asyncio.gather(*(manager.open(session_id) for session_id in ids))
    for session in sessions:
        session.increment("n", 100)
    await asyncio.gather(*(manager.commit(session) for session in sessions))
    assert store.sizes == [("load", 20), ("save", 20)]


async def test_parallel_requests_of_one_session_fold_into_few_saves(
    manager: SessionManager, store: FakeStore
) -> None:
    session_id = await stored(manager, n=0)
    store.sizes.clear()

    async def request(number: int) -> int:
        session = await manager.open(session_id)
        session.increment("n")
        session[f"key {number}"] = number
        await manager.commit(session)
        return int(session["n"])

    seen = await asyncio.gather(*(request(number) for number in range(50)))
    session = await manager.open(session_id)
    assert session["n"] == max(seen) == 50
    assert len(session) == 51
    assert len(store.sizes) <= 6


async def test_a_second_manager_on_the_store_loses_nothing(store: FakeStore, clock: Any) -> None:
    managers = [SessionManager(store, clock=clock) for _ in range(2)]
    session_id = await stored(managers[0], n=0)

    async def request(manager: SessionManager) -> None:
        session = await manager.open(session_id)
        session.increment("n")
        await manager.commit(session)

    await asyncio.gather(*(request(managers[number % 2]) for number in range(100)))
    assert (await managers[0].open(session_id))["n"] == 100


async def test_what_a_handler_holds_stays_good_when_others_are_merged_in(
    manager: SessionManager,
) -> None:
    session_id = await stored(manager, names=["a"], cart={"fruit": {"apple": 1}})
    mine, theirs = await manager.open(session_id), await manager.open(session_id)
    names, fruit = mine["names"], mine["cart"]["fruit"]
    names.append("mine")
    theirs["names"].append("theirs")
    theirs["cart"]["fruit"]["pear"] = 2
    await manager.commit(theirs)
    await manager.commit(mine)
    assert names is mine["names"]
    assert fruit is mine["cart"]["fruit"]
    names.append("late")
    fruit["fig"] = 3
    await manager.commit(mine)
    assert dict(await manager.open(session_id)) == {
        "names": ["a", "theirs", "mine", "late"],
        "cart": {"fruit": {"apple": 1, "pear": 2, "fig": 3}},
    }


async def test_a_neighbour_that_is_too_large_fails_alone(manager: SessionManager) -> None:
    session_id = await stored(manager, n=0)
    sessions = [await manager.open(session_id) for _ in range(3)]
    for session in sessions:
        session.increment("n")
    sessions[1]["big"] = "x" * 70_000
    results = await asyncio.gather(
        *(manager.commit(session) for session in sessions), return_exceptions=True
    )
    assert results[0] == results[2] == Keep()
    assert isinstance(results[1], SessionTooLarge)
    assert dict(await manager.open(session_id)) == {"n": 2}


async def test_too_much_data_is_refused_with_the_size_and_the_biggest_keys(
    manager: SessionManager, store: FakeStore
) -> None:
    session = await manager.open(None)
    session.update(small=1, biggest="x" * 60_000, big="y" * 5_000, medium="z" * 900)
    with pytest.raises(SessionTooLarge) as caught:
        await manager.commit(session)
    assert list(caught.value.biggest) == ["biggest", "big", "medium"]
    assert "65,9" in str(caught.value)
    assert "max_bytes is 65,536" in str(caught.value)
    assert store.sizes == []


async def test_a_commit_to_what_has_ended_is_dropped_and_told(
    manager: SessionManager, events: list[SessionEvent]
) -> None:
    session_id = await stored(manager, "ada", a=1)
    session = await manager.open(session_id)
    handle = session.handle or ""
    assert await manager.revoke(handle) == 1
    session["a"] = 2
    assert await manager.commit(session) == Keep()
    assert events[-2:] == [Ended(handle, "ada", "revoked"), CommitDropped(handle)]
    assert session.ended
    assert (await manager.open(session_id)).is_new


async def test_login_renews_in_one_step(
    manager: SessionManager, store: FakeStore, events: list[SessionEvent], clock: Any
) -> None:
    anonymous = await stored(manager, cart=[1])
    clock.advance(minutes=30)
    session = await manager.open(anonymous)
    handle = session.handle
    store.sizes.clear()
    session.login("ada")
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    assert store.sizes == [("save", 2)], "the session, and the tombstone of its old id"
    assert (await manager.open(anonymous)).is_new
    renewed = await manager.open(action.session_id)
    assert (renewed["cart"], renewed.user_id, renewed.handle) == ([1], "ada", handle)
    assert renewed.expires_at - renewed.created_at == timedelta(hours=1)
    assert events[-2:] == [Renewed(handle or "", "ada"), LoggedIn(handle or "", "ada")]


async def test_reset_ends_the_handle_too(manager: SessionManager) -> None:
    session = await manager.open(await stored(manager, "ada", a=1))
    before = session.handle
    session.reset()
    session["b"] = 2
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    after = await manager.open(action.session_id)
    assert (dict(after), after.user_id) == ({"b": 2}, None)
    assert after.handle != before
    assert await manager.sessions_of("ada") == []


async def test_destroy_ends_it_and_clears(
    manager: SessionManager, events: list[SessionEvent]
) -> None:
    session_id = await stored(manager, "ada", a=1)
    session = await manager.open(session_id)
    session.destroy()
    assert await manager.commit(session) == Clear()
    assert events[-1] == Ended(session.handle or "", "ada", "logged_out")
    assert (await manager.open(session_id)).is_new


async def test_an_id_that_is_taken_is_never_given_out_twice(store: FakeStore, clock: Any) -> None:
    numbers = itertools.chain("aab", "bbc")
    manager = SessionManager(store, genid=lambda _: next(numbers) * 43, clock=clock)
    first, second = await stored(manager, n=1), await stored(manager, n=2)
    assert (first, second) == ("a" * 43, "b" * 43)
    session = await manager.open(first)
    session.renew()
    assert await manager.commit(session) == Issue(SessionId("c" * 43))
    assert dict(await manager.open(second)) == {"n": 2}
    stuck = SessionManager(store, genid=lambda _: "b" * 43, clock=clock)
    with pytest.raises(StoreError, match="ids in a row that are taken"):
        await stored(stuck, n=3)


async def test_resave_and_save_uninitialized_mean_what_they_say(
    store: FakeStore, clock: Any
) -> None:
    manager = SessionManager(store, resave=True, save_uninitialized=True, clock=clock)
    session_id = await stored(manager)
    store.sizes.clear()
    assert await manager.commit(await manager.open(session_id)) == Keep()
    assert store.sizes == [("load", 1), ("save", 1)]
    with pytest.raises(ConfigurationError, match="keep"):
        SessionManager(store, unset="drop")  # type: ignore[arg-type]


async def test_an_unreadable_row_is_an_error_and_an_event(
    manager: SessionManager, store: FakeStore, events: list[SessionEvent]
) -> None:
    session_id = new_session_id()
    record = make_record(key=key_of(session_id), data=b"\x80\x04 a pickle")
    await store.save([Swap(None, record)])
    with pytest.raises(SessionUnreadable):
        await manager.open(session_id)
    assert events == [
        RecordUnreadable(record.handle, "unreadable session data: UnicodeDecodeError")
    ]
    assert await store.load([record.key]) == {record.key: record}, "the row stays for inspection"


async def failing(manager: SessionManager, handle: str | None) -> None:
    async with manager.transaction(handle) as session:
        session["n"] = 100
        raise ZeroDivisionError


async def test_a_transaction_commits_unless_it_fails(manager: SessionManager) -> None:
    session_id = await stored(manager, n=1)
    handle = (await manager.open(session_id)).handle
    async with manager.transaction(handle) as session:
        session.increment("n")
    with pytest.raises(ZeroDivisionError):
        await failing(manager, handle)
    assert dict(await manager.open(session_id)) == {"n": 2}


async def test_update_applies_a_function_to_the_newest(
    manager: SessionManager, store: FakeStore, clock: Any
) -> None:
    session_id = await stored(manager, n=2)
    handle = (await manager.open(session_id)).handle or ""
    other = SessionManager(store, clock=clock)

    def square(session: Session) -> None:
        session["n"] = session["n"] ** 2

    async def both() -> None:
        await asyncio.gather(manager.update(handle, square), other.update(handle, square))

    await both()
    assert dict(await manager.open(session_id)) == {"n": 16}
    assert await manager.update("unknown", square) is None


async def test_a_users_sessions_are_listed_and_revoked(
    manager: SessionManager, clock: Any, events: list[SessionEvent]
) -> None:
    ids = []
    for _ in range(4):
        ids.append(await stored(manager, "ada"))
        clock.advance(seconds=1)
    other = await stored(manager, "bob")
    listed = await manager.sessions_of("ada")
    assert [session.created_at for session in listed] == sorted(
        (session.created_at for session in listed), reverse=True
    )
    assert await manager.revoke(listed[0].handle or "", "unknown") == 1
    assert await manager.revoke_user("ada", keep=[listed[1].handle or ""]) == 2
    assert [(await manager.open(session_id)).is_new for session_id in ids] == [
        True,
        True,
        False,
        True,
    ]
    assert not (await manager.open(other)).is_new
    assert [type(event) for event in events[-3:]] == [Ended] * 3
    clock.advance(hours=1)
    assert await manager.sessions_of("ada") == []


async def test_a_handle_from_outside_ends_its_owners_session_only(manager: SessionManager) -> None:
    mine, theirs = [await manager.open(await stored(manager, user)) for user in ("ada", "bob")]
    handles = [str(mine.handle), str(theirs.handle)]
    assert await manager.revoke(*handles, user_id="ada") == 1
    assert [session.user_id for session in await manager.sessions_of("bob")] == ["bob"]
    assert await manager.revoke(*handles, user_id="ada") == 0
    with pytest.raises(ValueError, match="user_id must have 1 to 255"):
        await manager.revoke(*handles, user_id="")


async def test_what_stays_is_a_session_or_a_handle_or_several(manager: SessionManager) -> None:
    def keeps(*sessions: Session) -> list[Any]:
        one, *_ = sessions
        return [one, one.handle, [one], [one.handle, None], {str(one.handle)}, (one, sessions[1])]

    for which in range(6):
        sessions = [await manager.open(await stored(manager, "ada")) for _ in range(3)]
        kept = keeps(*sessions)[which]
        assert await manager.revoke_user("ada", keep=kept) == (1 if which == 5 else 2)
        assert sessions[0].handle in {one.handle for one in await manager.sessions_of("ada")}
        assert await manager.revoke_user("ada", keep=await manager.open(None)) in {1, 2}


async def test_what_is_found_is_to_look_at(manager: SessionManager) -> None:
    """A write would be stored by nobody, so it names what stores it."""
    session_id = await stored(manager, "ada", n=1)
    handle = str((await manager.open(session_id)).handle)
    found = [await manager.find(handle), *await manager.sessions_of("ada")]
    found += [session async for session in manager.all()]
    for session in found:
        assert session is not None
        assert session["n"] == 1
        for write, *arguments in (
            (session.update, {"n": 2}),
            (session.login, "bob"),
            (session.append, "log", 1),
            (session.destroy,),
            (session.touch,),
        ):
            with pytest.raises(ReadOnly, match="transaction"):
                write(*arguments)
    async with manager.transaction(handle) as session:
        session["n"] = 2
    assert (await manager.open(session_id))["n"] == 2


async def test_a_purge_goes_batch_by_batch(
    manager: SessionManager, store: FakeStore, clock: Any, events: list[SessionEvent]
) -> None:
    for _ in range(25):
        await stored(manager, n=1)
    clock.advance(minutes=30)
    alive = await stored(manager, n=1)
    clock.advance(minutes=30)
    assert await manager.purge(batch=10) == 25
    assert [size for verb, size in store.sizes if verb == "purge"] == [10] * 3
    assert events[-1] == Purged(25)
    assert not (await manager.open(alive)).is_new


async def test_a_purge_rests_longer_than_it_works(
    manager: SessionManager, store: FakeStore, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    async def purge(_now: int, limit: int) -> int:
        clock.advance(**slow.pop(0))
        return limit if slow else 0

    slow = [{"milliseconds": 5}, {"hours": 1}, {"hours": -1}, {}]
    monkeypatch.setattr(asyncio, "sleep", rest)
    monkeypatch.setattr(store, "purge", purge)
    assert await manager.purge(batch=10) == 30
    assert rests == [0.02, 1, 0]


async def test_a_purge_that_fails_is_told_and_the_next_one_runs(
    store: FakeStore, clock: Any
) -> None:
    told: asyncio.Queue[SessionEvent] = asyncio.Queue()
    every = timedelta(milliseconds=1)
    manager = SessionManager(store, clock=clock, hooks=[told.put_nowait], purge_every=every)
    store.failing = {"purge"}
    await manager.open(None)
    assert await told.get() == PurgeFailed("the store is down")
    store.failing = ()
    while isinstance(event := await told.get(), PurgeFailed):
        pass
    assert event == Purged(0)
    await manager.aclose()


async def test_a_hook_that_fails_harms_nobody(
    store: FakeStore, events: list[SessionEvent], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_event: SessionEvent) -> None:
        raise ZeroDivisionError

    await stored(SessionManager(store, hooks=[broken, events.append]), a=1)
    assert isinstance(events[0], Created)
    assert "a hook failed on Created" in caplog.text


async def test_events_are_logged_without_secrets(
    store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    manager = SessionManager(store)
    session_id = await stored(manager, "ada\n\x1b[31m", password="hush")
    session = await manager.open(session_id)
    session.destroy()
    await manager.commit(session)
    assert f"Created handle='{session.handle}' user_id='ada\\n\\x1b[31m'" in caplog.text
    assert "reason='logged_out'" in caplog.text
    for secret in (session_id, key_of(session_id).hex(), repr(key_of(session_id)), "hush"):
        assert secret not in caplog.text


async def test_lifetimes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="or both"):
        Lifetimes(idle=None, absolute=None)
    with pytest.raises(ConfigurationError, match="longer than zero"):
        Lifetimes(idle=timedelta(0))
    assert Lifetimes(idle=None).expires_at(0, 5) == timedelta(hours=24) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    "options",
    [
        {"unset": "forget"},
        {"touch_interval": timedelta(seconds=-1)},
        {"remember_ended": timedelta(seconds=-1)},
        {"max_bytes": 0},
    ],
)
async def test_options_that_cannot_be_stop_the_start(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        SessionManager(MemoryStore(), **options)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlserver://x", r"there is no store for sqlserver; .*memory://, .*sqlite://"),
        ("just-a-path", "a URL without a scheme"),
        ("sqlite://", "sqlite:// needs a file"),
        ("sqlite:///:memory:", "use memory://"),
        ("memory://x", "takes no path"),
    ],
)
async def test_a_store_url_that_cannot_be_is_refused_with_the_cure(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_store(url)


async def test_unreadable_values_never_leave_by_a_commit(manager: SessionManager) -> None:
    session = await manager.open(None)
    session["nested"] = []
    session["nested"].append(object())
    with pytest.raises(SerializationError, match=r"nested\[0\]"):
        await manager.commit(session)


async def test_all_sessions_are_walked_through_counted_and_cleared(
    manager: SessionManager, clock: Any, events: list[SessionEvent]
) -> None:
    for n in range(5):
        clock.advance(seconds=1)
        await stored(manager, user_id=f"user {n}")
    expired = (await anext(manager.all())).expires_at
    clock.now = moment_of(expired)
    found = [session.user_id async for session in manager.all(batch=2)]
    assert found == [f"user {n}" for n in range(1, 5)]
    assert await manager.length() == 4
    events.clear()
    assert await manager.clear(batch=2) == 4
    assert await manager.store.count() == 0
    assert [event.reason for event in events if isinstance(event, Ended)] == ["revoked"] * 4
    assert await manager.length() == 0
    assert [session async for session in manager.all()] == []


async def test_commits_behind_one_that_took_too_long_are_told_at_once(clock: Any) -> None:
    store = FakeStore(turns={"save": 20})
    manager = SessionManager(store, clock=clock, log=False)
    session_id = await stored(manager, n=1)
    sessions = [await manager.open(session_id) for _ in range(3)]
    for session in sessions:
        session.increment("n")
    store.failing, store.error = {"save"}, StoreTimeout
    store.is_saving.clear()
    store.sizes.clear()
    first = asyncio.ensure_future(manager.commit(sessions[0]))
    await store.is_saving.wait()
    behind = [manager.commit(session) for session in sessions[1:]]
    answers = await asyncio.gather(first, *behind, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreTimeout] * 3
    assert store.sizes == [("save", 1)], "those behind were not even asked"
    store.failing = ()
    session = await manager.open(session_id)
    session.increment("n")
    await manager.commit(session)
    assert (await manager.open(session_id))["n"] == 2
