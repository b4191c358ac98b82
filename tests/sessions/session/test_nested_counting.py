"""Counting and appending below the first level: parallel requests add up there, too."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from managing import stored

from hello_tornado.sessions import Session, SessionManager, Store
from hello_tornado.sessions.errors import SerializationError
from hello_tornado.sessions.records.serializers import JsonSerializer
from hello_tornado.sessions.session.operations import ABSENT as _ABSENT
from hello_tornado.sessions.session.tracked_dict import TrackedDict

NAMES = st.sampled_from("ab")


@pytest.mark.parametrize("cart", [None, {}, {"apple": 3, "beside": "x"}, {"apple": 3}])
@pytest.mark.gen_test
async def test_parallel_counts_and_appends_add_up(any_store: Store, cart: Any) -> None:
    manager = SessionManager(any_store, log=False)
    session_id = await stored(manager, "ada", **({} if cart is None else {"cart": cart}))

    async def request() -> None:
        session = await manager.open(session_id)
        await asyncio.sleep(0)
        session.increment("cart", "apple", by=2)
        session.append("log", "today", "visits", value="v")
        await manager.commit(session)

    await asyncio.gather(*(request() for _ in range(10)))
    session = await manager.open(session_id)
    assert session["cart"] == {**(cart or {}), "apple": (cart or {}).get("apple", 0) + 20}
    assert session["log"] == {"today": {"visits": ["v"] * 10}}
    await manager.aclose()


@pytest.mark.gen_test
async def test_the_last_ones_are_kept_across_requests(any_store: Store) -> None:
    manager = SessionManager(any_store, log=False)
    session_id = await stored(manager, "ada")

    async def view(page: int) -> None:
        session = await manager.open(session_id)
        await asyncio.sleep(0)
        session.append("seen", page, keep=3)
        await manager.commit(session)

    await asyncio.gather(*(view(page) for page in range(8)))
    seen = (await manager.open(session_id))["seen"]
    assert len(seen) == len({*seen}) == 3
    await view(8)
    assert (await manager.open(session_id))["seen"] == [*seen[1:], 8]
    await manager.aclose()


@pytest.mark.parametrize("keep", [0, -1, 1.5, "3", True])
def test_a_number_to_keep_is_a_whole_one(keep: Any) -> None:
    with pytest.raises(TypeError, match="keep must be a whole number of at least 1"):
        TrackedDict({}, JsonSerializer()).append("seen", 1, keep=keep)


@pytest.mark.parametrize(
    ("data", "names", "why"),
    [
        ({"n": 1}, ("n", "a"), r"session\['n'\] is a int, not a dict: it has no keys"),
        ({"n": {"a": [1]}}, ("n", "a", "b"), r"session\['n'\]\['a'\] is a list"),
        ({"n": {"a": "x"}}, ("n", "a"), r"session\['n'\]\['a'\] is a str: it cannot be"),
        ({}, ("n", 1, "a"), "must be str"),
    ],
)
def test_what_is_in_the_way_is_named(data: Any, names: Any, why: str) -> None:
    tracked = TrackedDict(data, JsonSerializer())
    with pytest.raises(TypeError, match=why):
        tracked.increment(*names)
    with pytest.raises(TypeError, match=why):
        tracked.append(*names, value=1)
    assert tracked.operations() == {}


def test_the_amount_is_said_last_or_by_name() -> None:
    tracked = TrackedDict({}, JsonSerializer())
    assert tracked.increment("n") == 1
    assert tracked.increment("n", 2) == 3
    assert tracked.increment("n", by=-1) == 2
    assert tracked.increment("cart", "apple") == 1
    assert tracked.increment("cart", "apple", by=4) == 5
    tracked.append("log", "a")
    tracked.append("log", value="b")
    tracked.append("lists", "today", value="c")
    assert dict(tracked) == {
        "n": 2,
        "cart": {"apple": 5},
        "log": ["a", "b"],
        "lists": {"today": ["c"]},
    }
    with pytest.raises(TypeError, match="needs a value"):
        tracked.append("log")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="by a whole number"):
        tracked.increment("n", by=True)
    for names in (("cart", 42), ("cart", "apple", 42), ("n", 2)):  # a product's number, say
        with pytest.raises(TypeError, match="must be str"):
            tracked.increment(*names, by=2)


def test_a_value_that_cannot_be_stored_is_refused_where_it_is_said() -> None:
    tracked = TrackedDict({}, JsonSerializer())
    with pytest.raises(SerializationError, match=r"log\.today"):
        tracked.append("log", "today", value=object())
    assert tracked.operations() == {}


DEEDS = st.lists(
    st.tuples(st.sampled_from(["count", "append", "keep", "look", "change", "drop"]), NAMES, NAMES),
    max_size=8,
)


def _do(tracked: TrackedDict, plain: dict[str, Any], deed: tuple[str, str, str]) -> None:
    verb, key, name = deed
    inside = plain.setdefault(key, {}) if verb in {"count", "append", "keep"} else plain.get(key)
    match verb:
        case "count":
            tracked.increment(key, "count", name, by=2)
            counts = inside.setdefault("count", {})
            counts[name] = counts.get(name, 0) + 2
        case "append":
            tracked.append(key, "list", name, value=[name])
            inside.setdefault("list", {}).setdefault(name, []).append([name])
        case "keep":
            tracked.append(key, "list", name, value=name, keep=2)
            kept = inside.setdefault("list", {}).setdefault(name, [])
            kept[:] = [*kept, name][-2:]
        case "look":
            tracked.get(key)
        case "change" if inside is not None:
            tracked[key]["changed"] = name
            inside["changed"] = name
        case "drop" if inside is not None:
            del tracked[key]
            del plain[key]


@given(DEEDS, DEEDS)
def test_it_reads_like_a_dict_and_replays_like_one(first: Any, second: Any) -> None:
    """Whatever is handed out in between; and the operations lead from what was to what is."""
    plain: dict[str, Any] = {}
    tracked = TrackedDict({}, JsonSerializer())
    for deed in first:
        _do(tracked, plain, deed)
    begun = TrackedDict(tracked.copy(), JsonSerializer())
    before = begun.copy()
    for deed in second:
        _do(begun, plain, deed)
    assert dict(begun) == plain
    after = dict(before)
    for key, operation in begun.operations().items():
        value = operation.apply(after.pop(key, _ABSENT))
        if value is not _ABSENT:
            after[key] = value
    assert after == plain


def test_what_the_handler_holds_follows() -> None:
    tracked = TrackedDict({"cart": {"apple": 1, "list": [1]}}, JsonSerializer())
    cart, items = tracked["cart"], tracked["cart"]["list"]
    cart["pear"] = 1
    tracked.increment("cart", "apple")
    tracked.append("cart", "list", value=2)
    assert cart == {"apple": 2, "pear": 1, "list": [1, 2]}
    assert tracked["cart"] is cart
    assert cart["list"] is items


@pytest.mark.parametrize("look", [False, True])
@pytest.mark.gen_test
async def test_a_key_with_a_time_of_its_own_keeps_it(
    any_store: Store, clock: Any, look: bool
) -> None:
    """Also when it runs out before the change arrives: nothing comes back without a time."""
    manager = SessionManager(any_store, clock=clock, log=False)
    session_id = await stored(manager, "ada", cart={"apple": 1}, seen=[1])

    def shorten(session: Session) -> None:
        for key in ("cart", "seen"):
            session.expire(key, 60)

    session = await manager.open(session_id)
    shorten(session)
    await manager.commit(session)
    session = await manager.open(session_id)
    if look:
        assert (session["cart"], session["seen"]) == ({"apple": 1}, [1])
    session.increment("cart", "apple")
    session.append("seen", 2)
    clock.advance(seconds=61)
    await manager.commit(session)
    assert dict(await manager.open(session_id)) == {}
    await manager.aclose()
