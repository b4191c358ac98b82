"""The laws of merging, for all operations and all values."""

import copy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hello_tornado.sessions.changes import (
    ABSENT,
    Append,
    Increment,
    Operation,
    Set,
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
)
OPERATIONS: st.SearchStrategy[Operation] = st.recursive(
    st.builds(Set, VALUES)
    | st.just(Unset())
    | st.builds(Increment, st.integers(-5, 5))
    | st.builds(Append, st.lists(VALUES, max_size=2).map(tuple)),
    lambda inner: st.builds(Update, st.dictionaries(KEYS, inner, max_size=3)),
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
        ([1], [1, 2], Append((2,))),
        ([1], [2], Set([2])),
        ({"a": 1}, {"a": 1, "b": 2}, Update({"b": Set(2)})),
        ({"a": 1}, {}, Update({"a": Unset()})),
        ({"a": {"b": [1]}}, {"a": {"b": [1, 2]}}, Update({"a": Update({"b": Append((2,))})})),
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
