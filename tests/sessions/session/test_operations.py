"""The laws of merging, for all operations and all values."""

import copy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hello_tornado.sessions.session.operations import (
    ABSENT,
    Append,
    IfAbsent,
    IfPresent,
    Increment,
    Members,
    Operation,
    Set,
    Steps,
    Unset,
    Update,
    difference,
    same,
)

KEYS = st.sampled_from(["a", "b", "c"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-1, 1) | st.sampled_from("xyz")
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
) | st.sets(st.integers(0, 3), max_size=3)
MEMBERS = st.frozensets(st.integers(0, 3), max_size=3)
MERGING: st.SearchStrategy[Any] = (
    st.builds(Increment, st.integers(-5, 5))
    | st.builds(Append, st.lists(VALUES, max_size=3).map(tuple), st.none() | st.integers(1, 4))
    | st.builds(Members, MEMBERS, MEMBERS)
)


def _in_a_row(operations: list[Operation]) -> Operation:
    first, *others = operations
    for other in others:
        first = first.then(other)
    return first


OPERATIONS: st.SearchStrategy[Operation] = st.recursive(
    st.builds(Set, VALUES)
    | st.just(Unset())
    | st.builds(IfAbsent, VALUES)
    | MERGING
    | MERGING.map(IfPresent),
    lambda inner: (
        st.builds(Update, st.dictionaries(KEYS, inner, max_size=3))
        | st.builds(Update, st.dictionaries(KEYS, inner, max_size=3)).map(IfPresent)
        | st.lists(inner, min_size=2, max_size=3).map(_in_a_row)
    ),
    max_leaves=6,
)
STATES = st.just(ABSENT) | VALUES


@given(OPERATIONS, OPERATIONS, STATES)
def test_one_after_the_other_is_both_at_once(a: Operation, b: Operation, value: Any) -> None:
    assert same(a.then(b).apply(value), b.apply(a.apply(value)))


@given(OPERATIONS, OPERATIONS, OPERATIONS, STATES)
def test_folding_does_not_care_where_it_begins(
    a: Operation, b: Operation, c: Operation, value: Any
) -> None:
    assert same(a.then(b).then(c).apply(value), a.then(b.then(c)).apply(value))


@given(OPERATIONS, VALUES)
def test_an_operation_never_changes_what_it_is_applied_to(a: Operation, value: Any) -> None:
    before = copy.deepcopy(value)
    a.apply(value)
    assert same(value, before)


@given(VALUES, VALUES)
def test_a_difference_leads_from_the_one_to_the_other(before: Any, after: Any) -> None:
    operation = difference(before, after)
    if operation is None:
        assert same(before, after)
    else:
        assert same(operation.apply(before), after)


@given(st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES))
def test_changes_of_different_keys_merge_in_any_order(
    data: dict[str, Any], mine: dict[str, Any], theirs: dict[str, Any]
) -> None:
    one = Update({key: Set(value) for key, value in mine.items()})
    other = Update({key: Set(value) for key, value in theirs.items() if key not in mine})
    assert same(one.then(other).apply(data), other.then(one).apply(data))


@given(st.lists(st.integers(-9, 9), min_size=1), st.integers())
def test_increments_add_up(steps: list[int], start: int) -> None:
    folded: Operation = Increment(0)
    for step in steps:
        folded = folded.then(Increment(step))
    assert folded.apply(start) == start + sum(steps)
    assert folded.apply(ABSENT) == sum(steps)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([1], [1, 2], IfPresent(Append((2,)))),
        ([1], [2], Set([2])),
        ({1, 2}, {2, 3}, IfPresent(Members(frozenset({3}), frozenset({1})))),
        ({"a": 1}, {"a": 1, "b": 2}, IfPresent(Update({"b": Set(2)}))),
        ({"a": 1}, {}, IfPresent(Update({"a": Unset()}))),
        (
            {"a": {"b": [1]}},
            {"a": {"b": [1, 2]}},
            IfPresent(Update({"a": IfPresent(Update({"b": IfPresent(Append((2,)))}))})),
        ),
        ({}, {"a": {}}, IfPresent(Update({"a": IfAbsent({})}))),
        (
            {},
            {"a": [1]},
            IfPresent(Update({"a": Steps((IfAbsent([]), IfPresent(Append((1,)))))})),
        ),
        ({"a": 1}, {"a": 1}, None),
    ],
)
def test_a_difference_is_as_small_as_it_can_be(before: Any, after: Any, expected: Any) -> None:
    assert difference(before, after) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (Decimal("1.0"), Decimal("1.00")),
        ([1], (1,)),
        ({1}, {True}),
        ({"a": 1}, {"a": True}),
        ("1", b"1"),
    ],
)
def test_what_is_equal_in_python_may_still_differ(one: Any, other: Any) -> None:
    assert not same(one, other)
    assert same(one, copy.deepcopy(one))


@pytest.mark.parametrize("gone", [ABSENT, None, 5, "text"])
@given(VALUES, VALUES)
def test_a_change_inside_a_container_never_brings_it_back(
    gone: Any, before: Any, after: Any
) -> None:
    operation = difference(before, after)
    if isinstance(operation, IfPresent):
        assert operation.apply(gone) is gone


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=4))
def test_containers_that_are_put_side_by_side_merge(keys: list[str]) -> None:
    value: Any = {}
    for key in keys:
        operation = difference({}, {"cart": {key: {"counts": [key]}}})
        assert operation is not None
        value = operation.apply(value)
    assert value["cart"].keys() == set(keys)
    assert all(value["cart"][key]["counts"] == [key] * keys.count(key) for key in keys)


def test_the_steps_of_repeated_changes_stay_few() -> None:
    operation: Operation = IfAbsent({})
    for number in range(50):
        operation = operation.then(IfAbsent({})).then(IfPresent(Update({f"k{number}": Set(1)})))
    assert isinstance(operation, Steps)
    assert len(operation.operations) == 2
