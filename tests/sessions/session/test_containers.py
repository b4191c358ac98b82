"""Containers in a session merge: those that are new, that grow, and that are gone."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes import FakeStore
from hypothesis import given, settings
from hypothesis import strategies as st
from managing import stored

from hello_tornado.sessions import Session, SessionManager, Store
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.stores.memory import MemoryStore

REQUESTS = 12


def by_setdefault(session: Session, number: int) -> None:
    session.setdefault("cart", {})[f"k{number}"] = number


def by_asking_first(session: Session, number: int) -> None:
    if "cart" not in session:
        session["cart"] = {}
    session["cart"][f"k{number}"] = number


def by_get(session: Session, number: int) -> None:
    cart = session.get("cart")
    if cart is None:
        cart = session["cart"] = {}
    cart[f"k{number}"] = number


def by_assigning_what_get_gave(session: Session, number: int) -> None:
    cart = session.get("cart", {})
    cart[f"k{number}"] = number
    session["cart"] = cart


def to_a_counter(session: Session, number: int) -> None:
    if "cart" not in session:
        session["cart"] = Counter()
    session["cart"][f"k{number}"] = number


def inside_what_was_assigned(session: Session, number: int) -> None:
    if "cart" not in session:
        session["cart"] = {"items": []}
    session["cart"]["items"].append(number)


def one_level_deeper(session: Session, number: int) -> None:
    session.setdefault("shop", {}).setdefault("cart", {})[f"k{number}"] = number


def two_levels_deeper(session: Session, number: int) -> None:
    shop = session.setdefault("shop", {"open": True})
    shop.setdefault("carts", {}).setdefault("mine", []).append(number)


def to_a_list(session: Session, number: int) -> None:
    session.setdefault("list", []).append(number)


def to_a_list_asked_first(session: Session, number: int) -> None:
    if "list" not in session:
        session["list"] = []
    session["list"].append(number)


def to_a_set(session: Session, number: int) -> None:
    session.setdefault("set", set()).add(number)


@dataclass
class Cart:
    lines: dict[str, int] = field(default_factory=dict)
    log: list[int] = field(default_factory=list)
    more: dict[str, int] | None = None


def by_a_class(session: Session, number: int) -> None:
    cart = session.typed(Cart)
    cart.lines[f"k{number}"] = number
    cart.log.append(number)
    cart.more = cart.more or {}
    cart.more[f"k{number}"] = number


NUMBERS = list(range(REQUESTS))
KEYED = {f"k{number}": number for number in NUMBERS}


FIRST_ADDS: list[tuple[Callable[[Session, int], None], dict[str, Any]]] = [
    (by_setdefault, {"cart": KEYED}),
    (by_asking_first, {"cart": KEYED}),
    (by_get, {"cart": KEYED}),
    (by_assigning_what_get_gave, {"cart": KEYED}),
    (to_a_counter, {"cart": KEYED}),
    (inside_what_was_assigned, {"cart": {"items": NUMBERS}}),
    (one_level_deeper, {"shop": {"cart": KEYED}}),
    (two_levels_deeper, {"shop": {"open": True, "carts": {"mine": NUMBERS}}}),
    (to_a_list, {"list": NUMBERS}),
    (to_a_list_asked_first, {"list": NUMBERS}),
    (to_a_set, {"set": set(NUMBERS)}),
    (by_a_class, {"lines": KEYED, "log": NUMBERS, "more": KEYED}),
]


def test_the_first_adds_of_parallel_requests_are_all_kept(any_store: Store) -> None:
    async def scenario() -> None:
        managers = [SessionManager(any_store, log=False) for _ in range(2)]
        for add, expected in FIRST_ADDS:
            session_id = await stored(managers[0], begun=True)
            opened = [await managers[number % 2].open(session_id) for number in NUMBERS]
            for number, session in enumerate(opened):
                add(session, number)
            await asyncio.gather(
                *(managers[number % 2].commit(session) for number, session in enumerate(opened))
            )
            data = dict(await managers[0].open(session_id))
            assert data.pop("begun")
            assert in_order(data) == in_order(expected), add.__name__
        await any_store.aclose()

    asyncio.run(scenario())


def in_order(value: Any) -> Any:
    """*value* with its lists sorted: which request comes first is nobody's promise."""
    if isinstance(value, dict):
        return {key: in_order(item) for key, item in value.items()}
    return sorted(value) if isinstance(value, list) else value


async def side_by_side(
    store: Store, start: dict[str, Any], *deeds: Callable[[Session], object], clock: Any = None
) -> dict[str, Any]:
    """What is stored after requests that all began with *start*, committed one after the other."""
    manager = SessionManager(store, log=False) if clock is None else clock_manager(store, clock)
    session_id = await stored(manager, **start)
    opened = [await manager.open(session_id) for _ in deeds]
    for deed, session in zip(deeds, opened, strict=True):
        deed(session)
    for session in opened:
        await manager.commit(session)
    return dict(await manager.open(session_id))


def clock_manager(store: Store, clock: Any) -> SessionManager:
    return SessionManager(store, log=False, clock=clock)


@pytest.mark.gen_test
async def test_members_are_added_and_removed_side_by_side() -> None:
    data = await side_by_side(
        MemoryStore(),
        {"tags": {"a", "b"}, "deep": {"tags": {1, 2}}},
        lambda session: (session["tags"].add("c"), session["deep"]["tags"].discard(1)),
        lambda session: (session["tags"].discard("a"), session["deep"]["tags"].add(3)),
    )
    assert data == {"tags": {"b", "c"}, "deep": {"tags": {2, 3}}}


@pytest.mark.gen_test
async def test_a_default_never_replaces_what_another_request_has_put_there() -> None:
    data = await side_by_side(
        MemoryStore(),
        {"begun": True},
        lambda session: session.increment("n", 5),
        lambda session: session.setdefault("n", 0),
        lambda session: session.setdefault("theme", "light"),
        lambda session: session.setdefault("theme", "dark"),
    )
    assert data == {"begun": True, "n": 5, "theme": "light"}


GONE: dict[str, Callable[[Session], object]] = {
    "deleted": lambda session: session.pop("cart"),
    "replaced": lambda session: session.update(cart="none"),
    "cleared": lambda session: session.clear(),
}
INSIDE: dict[str, Callable[[Session], object]] = {
    "dict": lambda session: session["cart"].update(late=1),
    "deeper": lambda session: session["cart"]["deep"].update(late=1),
    "list": lambda session: session["cart"]["list"].append("late"),
    "set": lambda session: session["cart"]["set"].add("late"),
}


def test_a_change_inside_brings_back_no_fragment(any_store: Store) -> None:
    async def scenario() -> None:
        for gone, inside in itertools.product(GONE, INSIDE):
            start = {"cart": {"deep": {"a": 1}, "list": [1], "set": {1}}, "n": 1}
            data = await side_by_side(any_store, start, GONE[gone], INSIDE[inside])
            data.pop("n", None)
            assert data == ({"cart": "none"} if gone == "replaced" else {}), (gone, inside)
        await any_store.aclose()

    asyncio.run(scenario())


LATE: dict[str, Callable[[Session], object]] = {
    **INSIDE,
    "increment": lambda session: session.increment("count"),
    "append": lambda session: session.append("log", "late"),
}


def test_what_has_run_out_meanwhile_does_not_come_back(any_store: Store, clock: Any) -> None:
    async def scenario() -> None:
        manager = clock_manager(any_store, clock)
        for name, late in LATE.items():
            session = await manager.open(None)
            session.update(cart={"deep": {}, "list": [], "set": set()}, count=3, log=["a"], stays=1)
            for key in ("cart", "count", "log"):
                session.expire(key, 300)
            action = await manager.commit(session)
            assert isinstance(action, Issue)
            slow = await manager.open(action.session_id)
            late(slow)
            clock.advance(seconds=301)
            await manager.commit(slow)
            again = await manager.open(action.session_id)
            assert dict(again) == {"stays": 1}, name
            assert again.increment("count") == 1, "it counts anew"
        await any_store.aclose()

    asyncio.run(scenario())


@pytest.mark.gen_test
async def test_a_key_that_is_set_again_beside_its_time_does_not_run_out(clock: Any) -> None:
    manager = clock_manager(MemoryStore(), clock)
    session_id = await stored(manager, code=1, old=1)
    timing, setting = await manager.open(session_id), await manager.open(session_id)
    timing.expire("code", 10)
    timing.expire("old", 10)
    setting["code"] = 2
    await manager.commit(timing)
    await manager.commit(setting)
    clock.advance(seconds=11)
    assert dict(await manager.open(session_id)) == {"code": 2}


KEYS = st.sampled_from("abc")
SMALL = st.integers(0, 3)
DEEDS = st.one_of(
    st.tuples(st.just("set"), KEYS, SMALL),
    st.tuples(st.just("dict"), KEYS, SMALL),
    st.tuples(st.just("list"), KEYS, SMALL),
    st.tuples(st.just("members"), KEYS, SMALL),
    st.tuples(st.just("increment"), KEYS, SMALL),
    st.tuples(st.just("append"), KEYS, SMALL),
    st.tuples(st.just("delete"), KEYS, SMALL),
    st.tuples(st.just("setdefault"), KEYS, SMALL),
    st.tuples(st.just("commit"), KEYS, SMALL),
    st.tuples(st.just("fail"), KEYS, SMALL),
    st.tuples(st.just("renew"), KEYS, SMALL),
    st.tuples(st.just("flash"), KEYS, SMALL),
    st.tuples(st.just("theirs"), KEYS, SMALL),
)


def do(session: Session, kind: str, key: str, number: int) -> None:  # noqa: C901 - a list
    value = session.get(key)
    match kind:
        case "set":
            session[key] = number
        case "delete":
            session.pop(key, None)
        case "setdefault":
            session.setdefault(key, {"x": number} if number else {})
        case "increment" if value is None or type(value) is int:
            session.increment(key, number)
        case "append" if value is None or isinstance(value, list):
            session.append(key, [number])
        case "renew":
            session.renew()
        case "flash":
            session.flash(str(number))
        case "dict":
            if not isinstance(value, dict):
                session[key] = {}
            session[key].setdefault("deep", {})[str(number)] = [number]
        case "list":
            if not isinstance(value, list):
                session[key] = []
            session[key].append(number)
        case "members":
            if not isinstance(value, set):
                session[key] = set()
            session[key] ^= {number}


def mine(session: Session) -> dict[str, Any]:
    return {key: value for key, value in session.items() if not key.startswith("their")}


@settings(deadline=None, max_examples=300)
@given(st.lists(DEEDS, max_size=12))
def test_after_each_commit_the_session_shows_what_is_stored(deeds: list[Any]) -> None:
    async def scenario() -> None:
        store = FakeStore()
        manager = SessionManager(store, log=False)
        session_id = await stored(manager, start=1)
        session = await manager.open(session_id)

        async def commit() -> None:
            nonlocal session_id
            action = await manager.commit(session)
            if isinstance(action, Issue):
                session_id = action.session_id
            stored = await manager.open(session_id)
            assert mine(session) == mine(stored)
            assert not session.modified

        for kind, key, number in deeds:
            if kind == "commit":
                await commit()
            elif kind == "fail":
                before = dict(session)
                store.failing, store.error = {"save"}, RuntimeError
                if session.modified:
                    with pytest.raises(RuntimeError):
                        await manager.commit(session)
                store.failing = ()
                assert dict(session) == before
            elif kind == "theirs":
                other = await manager.open(session_id)
                other[f"their {key}"] = number
                await manager.commit(other)
            else:
                do(session, kind, key, number)
        shown = mine(session)
        await commit()
        assert mine(session) == shown, "nothing of it was lost on the way"

    asyncio.run(scenario())
