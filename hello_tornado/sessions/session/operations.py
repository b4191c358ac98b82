"""Changes of a session as values that can be applied, composed and replayed.

The changes of one request are a single `Update` of the session's document. For any operations
*a*, *b* and any value *v*

    a.then(b).apply(v) == b.apply(a.apply(v))

Therefore the changes of many requests can be combined into one write, and a write that lost a race
can be replayed on the version that won.

`Increment`, `Append`, `Members` and `Update` change a value of their kind (an int, a list, a set, a
dict). They treat any other value as if it were absent. `IfPresent` and `IfAbsent` limit that: a
change inside a container must not restore a container that another request has removed, and a new
container must not replace one that another request has created.
"""

from __future__ import annotations

import copy
import enum
import functools
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from hello_tornado.sessions.records.immutable import immutable


class Absent(enum.Enum):
    """The type of `ABSENT`, which means that there is no value. None is a value."""

    ABSENT = enum.auto()


ABSENT: Final = Absent.ABSENT


class _Composable:
    """The base class of operations. Two operations in a row can be composed into one."""

    __slots__ = ()

    def then(self, later: Operation, /) -> Operation:
        """Return one operation that does this one, then *later*."""
        return composed(self, later)  # type: ignore[arg-type]


@immutable
class Set(_Composable):
    """Replace any value, or none, by this one."""

    value: Any

    def apply(self, _value: Any, /) -> Any:
        """Return the new value."""
        return self.value


@immutable
class Unset(_Composable):
    """Remove the value."""

    def apply(self, _value: Any, /) -> Any:
        """Return `ABSENT`."""
        return ABSENT


@immutable
class Increment(_Composable):
    """Add `by` to an int; an absent value counts as 0."""

    by: int

    def apply(self, value: Any, /) -> int:
        """Return the sum."""
        return value + self.by if is_count(value) else self.by


@immutable
class Append(_Composable):
    """Add values at the end of a list; an absent value counts as an empty list.

    With `keep`, only the last `keep` values of the list are kept.
    """

    values: tuple[Any, ...]
    keep: int | None = None

    def apply(self, value: Any, /) -> list[Any]:
        """Return a new list."""
        result = [*value, *self.values] if isinstance(value, list) else [*self.values]
        return result if self.keep is None else result[-self.keep :]

    def followed_by(self, later: Append) -> Append:
        """Return one operation that does this one, then *later*; both limits apply."""
        limits = [later.keep, None if self.keep is None else self.keep + len(later.values)]
        keep = min((limit for limit in limits if limit is not None), default=None)
        return Append(self.values + later.values, keep)


@immutable
class Members(_Composable):
    """Add members to a set and remove others; an absent value counts as an empty set."""

    added: frozenset[Any]
    removed: frozenset[Any] = frozenset()

    def apply(self, value: Any, /) -> set[Any]:
        """Return a new set."""
        return {*value} - self.removed | self.added if isinstance(value, set) else {*self.added}


@immutable
class Update(_Composable):
    """Apply operations to keys of a dict; an absent value counts as an empty dict."""

    operations: Mapping[str, Operation]

    def __bool__(self) -> bool:
        return bool(self.operations)

    def apply(self, value: Any, /) -> dict[str, Any]:
        """Return a new dict; keys without an operation are unchanged."""
        result = dict(value) if isinstance(value, dict) else {}
        for key, operation in self.operations.items():
            changed = operation.apply(result.get(key, ABSENT))
            if changed is ABSENT:
                result.pop(key, None)
            else:
                result[key] = changed
        return result

    def merged_with(self, later: Update) -> Update:
        """Return one update that does this one, then *later*."""
        merged = dict(self.operations)
        for key, operation in later.operations.items():
            merged[key] = merged[key].then(operation) if key in merged else operation
        return Update(merged)


@immutable
class IfAbsent(_Composable):
    """Set this value if there is none; keep any other."""

    value: Any

    def apply(self, value: Any, /) -> Any:
        """Return the given value, or the new one if it is `ABSENT`."""
        return self.value if value is ABSENT else value


@immutable
class IfPresent(_Composable):
    """Apply an operation to a value of its kind only; keep any other value."""

    operation: Kind

    def apply(self, value: Any, /) -> Any:
        """Return the changed value, or the given one if it is of another kind or absent."""
        is_of_its_kind = _KINDS[type(self.operation)]
        return self.operation.apply(value) if is_of_its_kind(value) else value


@immutable
class Steps(_Composable):
    """Several operations in a row that cannot be expressed as a single one."""

    operations: tuple[Operation, ...]

    def apply(self, value: Any, /) -> Any:
        """Return the value after the last operation."""
        for operation in self.operations:
            value = operation.apply(value)
        return value


Kind: TypeAlias = Increment | Append | Members | Update
"""The operations that change a value of one kind."""

NO_CHANGES: Final = Update({})
_EQUAL_IS_SAME: Final = frozenset({str, int, bool, type(None), bytes})

Operation: TypeAlias = Set | Unset | Kind | IfAbsent | IfPresent | Steps


def composed(earlier: Operation, later: Operation) -> Operation:
    """Return one operation that does *earlier*, then *later*."""
    match later:
        case Set() | Unset():
            return later
        case Steps(operations):
            return functools.reduce(composed, operations, earlier)
    match earlier:
        case Set() | Unset():
            return _set_to(later.apply(earlier.apply(ABSENT)))
        case IfAbsent() | IfPresent():
            return _joined(earlier, later) or Steps((earlier, later))
        case Steps(operations):
            return _appended(operations, later)
    return _onto_a_value_of_its_kind(earlier, later)


def _joined(earlier: IfAbsent | IfPresent, later: Operation) -> Operation | None:
    """Return both as one operation of the kind of *earlier*, or None if there is none."""
    match earlier, later:
        case IfAbsent(), IfAbsent():
            return earlier
        case IfPresent(mine), IfPresent(theirs) if type(mine) is type(theirs):
            return IfPresent(_merged(mine, theirs))
    return None


def _onto_a_value_of_its_kind(earlier: Kind, later: Operation) -> Operation:
    """Compose *later* with an operation whose result is always a value of its kind."""
    if isinstance(later, IfAbsent):
        return earlier
    if isinstance(later, IfPresent):
        if type(later.operation) is not type(earlier):
            return earlier
        later = later.operation
    if type(later) is not type(earlier):
        return _set_to(later.apply(ABSENT))
    return _merged(earlier, later)


def _appended(operations: tuple[Operation, ...], later: Operation) -> Operation:
    if isinstance(later, IfAbsent) and any(isinstance(one, IfAbsent) for one in operations):
        return Steps(operations)  # none of the steps removes a value
    *before, last = operations
    joined = composed(last, later)
    if isinstance(joined, Set | Unset):
        return joined
    return Steps((*before, *(joined.operations if isinstance(joined, Steps) else (joined,))))


def _merged(earlier: Kind, later: Any) -> Kind:
    """Return one operation that does two of the same kind."""
    match earlier:
        case Increment(by):
            return Increment(by + later.by)
        case Append():
            return earlier.followed_by(later)
        case Members(added, removed):
            return Members(
                added - later.removed | later.added, removed - later.added | later.removed
            )
        case Update():
            return earlier.merged_with(later)


def _set_to(value: Any) -> Set | Unset:
    return Unset() if value is ABSENT else Set(value)


def is_count(value: Any) -> bool:
    """Whether *value* can be incremented: an int, but not a bool."""
    return type(value) is int


_KINDS: Final[Mapping[type, Any]] = {
    Increment: is_count,
    Append: lambda value: isinstance(value, list),
    Members: lambda value: isinstance(value, set),
    Update: lambda value: isinstance(value, dict),
}


def same(one: Any, other: Any) -> bool:
    """Compare values and types: 1, True and 1.0 differ, and Decimal("1.0") and Decimal("1.00")."""
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
    """Return the smallest operation that turns *before* into *after*; None if they are the same.

    A list that grew at its end gives an `Append`, a change of a set `Members`, and a change inside
    a dict an `Update`, so that nested changes of parallel requests merge. Each applies only if
    there is still a container of that kind.
    """
    if same(before, after):
        return None
    match before, after:
        case dict(), dict():
            return IfPresent(differences(before, after))
        case list(), list() if same(before, after[: len(before)]):
            return IfPresent(Append(tuple(copy.deepcopy(after[len(before) :]))))
        case set(), set() if before != after:
            return IfPresent(Members(frozenset(after - before), frozenset(before - after)))
    return Set(copy.deepcopy(after))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Update:
    """Return the update that turns one mapping into another, with an operation for each key."""
    return Update(dict(_differences(before, after)))


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, Operation]]:
    for key in [*before, *(key for key in after if key not in before)]:
        if key not in after:
            yield key, Unset()
        elif key not in before:
            yield key, put(after[key])
        elif (operation := difference(before[key], after[key])) is not None:
            yield key, operation


def put(value: Any) -> Operation:
    """Return the operation that sets *value* where there was none.

    A container is merged with one that a parallel request has set there.
    """
    kind = next((kind for kind in (dict, list, set) if isinstance(value, kind)), None)
    if kind is None:
        return Set(copy.deepcopy(value))
    filled = difference(kind(), kind(value))
    return IfAbsent(kind()) if filled is None else IfAbsent(kind()).then(filled)
