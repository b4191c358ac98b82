"""What was done to a session, as values that can be applied, composed and replayed.

Five operations form the whole vocabulary. `Update` nests them by key, so the changes of one request
are a single `Update` of the session's document. For any operations *a*, *b* and any value *v*

    a.then(b).apply(v) == b.apply(a.apply(v))

which is why the changes of many requests fold into one write, and why a write that lost a race can
be replayed on what won. An operation on a value of another kind (an increment of a list, an append
to a number) starts afresh, as if the value were absent.
"""

from __future__ import annotations

import copy
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias


class Absent(enum.Enum):
    """The type of `ABSENT`: no value at all, as opposed to None."""

    ABSENT = enum.auto()


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Set:
    """Whatever was there, now it is this."""

    value: Any

    def apply(self, _value: Any, /) -> Any:
        """The new value."""
        return self.value

    def then(self, later: Operation, /) -> Operation:
        """This, followed by *later*."""
        match later:
            case Set() | Unset():
                return later
            case _:
                return Set(later.apply(self.value))


@dataclass(frozen=True, slots=True)
class Unset:
    """Whatever was there is there no more."""

    def apply(self, _value: Any, /) -> Any:
        """`ABSENT`."""
        return ABSENT

    def then(self, later: Operation, /) -> Operation:
        """This, followed by *later*."""
        return Set(ABSENT).then(later)


@dataclass(frozen=True, slots=True)
class Increment:
    """A whole number grows by this much; an absent one counts from 0."""

    by: int

    def apply(self, value: Any, /) -> int:
        """The sum."""
        return value + self.by if is_count(value) else self.by

    def then(self, later: Operation, /) -> Operation:
        """This, followed by *later*."""
        match later:
            case Increment(by):
                return Increment(self.by + by)
            case _:
                return _onto_another_kind(later)


@dataclass(frozen=True, slots=True)
class Append:
    """A list grows by these values at its end; an absent one grows from empty."""

    values: tuple[Any, ...]

    def apply(self, value: Any, /) -> list[Any]:
        """A new list."""
        return [*value, *self.values] if isinstance(value, list) else [*self.values]

    def then(self, later: Operation, /) -> Operation:
        """This, followed by *later*."""
        match later:
            case Append(values):
                return Append(self.values + values)
            case _:
                return _onto_another_kind(later)


@dataclass(frozen=True, slots=True)
class Update:
    """In a mapping, each of these keys is operated on; an absent mapping counts as empty."""

    operations: Mapping[str, Operation]

    def __bool__(self) -> bool:
        return bool(self.operations)

    def apply(self, value: Any, /) -> dict[str, Any]:
        """A new dict; what no operation names is carried over."""
        result = dict(value) if isinstance(value, dict) else {}
        for key, operation in self.operations.items():
            changed = operation.apply(result.get(key, ABSENT))
            if changed is ABSENT:
                result.pop(key, None)
            else:
                result[key] = changed
        return result

    def then(self, later: Operation, /) -> Operation:
        """This, followed by *later*."""
        match later:
            case Update():
                return self.merged_with(later)
            case _:
                return _onto_another_kind(later)

    def merged_with(self, later: Update) -> Update:
        """This, followed by *later*: two updates are always one."""
        merged = dict(self.operations)
        for key, operation in later.operations.items():
            merged[key] = merged[key].then(operation) if key in merged else operation
        return Update(merged)


NO_CHANGES: Final = Update({})
_EQUAL_IS_SAME: Final = frozenset({str, int, bool, type(None), bytes})

Operation: TypeAlias = Set | Unset | Increment | Append | Update


def _onto_another_kind(later: Operation) -> Operation:
    """*later* after an operation of another kind, which left it nothing that it could build on."""
    return Set(ABSENT).then(later)


def is_count(value: Any) -> bool:
    """Whether *value* can be incremented: an int, but no bool."""
    return type(value) is int


def same(one: Any, other: Any) -> bool:
    """Equality that also tells 1 from True and 1.0, and Decimal("1.0") from Decimal("1.00")."""
    if type(one) is not type(other):
        return False
    if type(one) in _EQUAL_IS_SAME:
        return bool(one == other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset):
        return one == other and sorted(map(repr, one)) == sorted(map(repr, other))
    return repr(one) == repr(other)


def difference(before: Any, after: Any) -> Operation | None:
    """The smallest operation that leads from *before* to *after*; None when they are the same.

    What grew at its end is an `Append` and what changed inside a mapping is an `Update`, so that
    nested changes of parallel requests merge too.
    """
    if same(before, after):
        return None
    if isinstance(before, dict) and isinstance(after, dict):
        return Update(
            {
                key: operation
                for key in [*before, *(key for key in after if key not in before)]
                if (operation := _difference_at(key, before, after)) is not None
            }
        )
    if isinstance(before, list) and isinstance(after, list) and same(before, after[: len(before)]):
        return Append(tuple(copy.deepcopy(after[len(before) :])))
    return Set(copy.deepcopy(after))


def _difference_at(
    key: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Operation | None:
    if key not in after:
        return Unset()
    if key not in before:
        return Set(copy.deepcopy(after[key]))
    return difference(before[key], after[key])
