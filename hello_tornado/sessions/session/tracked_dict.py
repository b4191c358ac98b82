"""A dict that records its changes as operations, which can be merged with those of others."""

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final, Self, overload

from hello_tornado.sessions.records.serializers import Serializer
from hello_tornado.sessions.session.operations import (
    ABSENT,
    Append,
    IfAbsent,
    Increment,
    Operation,
    Set,
    Unset,
    Update,
    difference,
    is_count,
    put,
    same,
)

MUTABLE: Final = (dict, list, set, tuple)  # a tuple may hold a list
NEVER_CHANGES: Final = frozenset({str, int, float, bool, bytes, type(None)})


def keep_mine(_key: str, mine: Any, _theirs: Any) -> Any:
    """Keep the value of this session; the default of `merge()`."""
    return mine


class TrackedDict(MutableMapping[str, Any]):
    """A dict that records its changes. Setting a value that cannot be serialized raises an error.

    Keys are str. Nested changes (`session["cart"]["apple"] = 1`) need no flag: a mutable value is
    copied when it is first read, and compared with the copy when the operations are requested. The
    dict that was passed to the constructor is never changed in place.
    """

    __slots__ = ("_data", "_handed_out", "_operations", "_serializer")

    def __init__(self, data: dict[str, Any], serializer: Serializer) -> None:
        self._data = dict(data)
        self._serializer = serializer
        self._handed_out: dict[str, Any] = {}
        self._operations: dict[str, Operation] = {}

    def operations(self) -> dict[str, Operation]:
        """Return the changes so far, nested ones included, as one operation for each key."""
        operations = dict(self._operations)
        for key, before in self._handed_out.items():
            operation = difference(before, self._data[key])
            if operation is not None:
                self._serializer.check(key, self._data[key])
                _add(operations, key, operation)
        return operations

    def _record_nested(self) -> None:
        """Record the nested changes so far, so that they come before those that follow."""
        for key, before in self._handed_out.items():
            operation = difference(before, self._data[key])
            if operation is not None:
                self._serializer.check(key, self._data[key])
                _add(self._operations, key, operation)
                self._handed_out[key] = _copied(self._data[key])

    def _is_changed_inside(self, key: str) -> bool:
        """Whether the value under *key* was read and has been changed in place since."""
        return key in self._handed_out and not same(self._handed_out[key], self._data[key])

    def _record_anew(self, done: Operation | None) -> None:
        """Start a new record of changes; *done* has those that were recorded so far."""
        self._operations = {}
        if done is not None and self._handed_out:
            changed = done.operations if isinstance(done, Update) else self._handed_out
            for key in self._handed_out.keys() & changed.keys():
                self._handed_out[key] = _copied(self._data[key])

    def _rebase_data(self, data: dict[str, Any]) -> None:
        """Show *data*, without any recorded changes.

        Containers that the handler has read are changed in place, so that its references stay
        valid.
        """
        mine, self._data, self._operations = self._data, dict(data), {}
        if self._handed_out:
            self._handed_out = {key: data[key] for key in self._handed_out if key in data}
            for key, value in self._handed_out.items():
                self._data[key] = _brought_to(mine[key], value)

    def _check_writable(self, key: str | None = None) -> None:
        """Raise if the session cannot be written to any more, or *key* not in this way."""

    def __getitem__(self, key: str) -> Any:
        value = self._data[key]
        if isinstance(value, MUTABLE) and key not in self._handed_out:
            self._handed_out[key] = value
            value = self._data[key] = _copied(value)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._check_writable(key)
        self._serializer.check(key, value)
        if key in self._data and same(self[key], value):
            self._data[key] = value
            return
        # A new dict or set is merged with one that a parallel request sets under the same key, and
        # so is an empty list. A list with elements replaces it.
        begins = isinstance(value, (dict, set, list)) and key not in self._data
        if begins and (not value or not isinstance(value, list)):
            self._put(key, value, put(value))
        else:
            self._put(key, value, Set(_copied(value)))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of *key*; if there is none, set it to *default* and return that.

        If a parallel request has set the key first, its value is kept.
        """
        if key not in self._data:
            self._check_writable(key)
            self._serializer.check(key, default)
            self._put(key, default, IfAbsent(_copied(default)))
        return self[key]

    def _put(self, key: str, value: Any, operation: Operation) -> None:
        self._handed_out.pop(key, None)
        self._operate(key, operation)
        if isinstance(value, MUTABLE):
            self._handed_out[key] = self._data[key]
            self._data[key] = value

    def __delitem__(self, key: str) -> None:
        self._check_writable(key)
        if key not in self._data:
            raise KeyError(key)
        self._handed_out.pop(key, None)
        self._operate(key, Unset())

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def copy(self) -> dict[str, Any]:
        """Return a deep copy of the data as a plain dict."""
        return {key: _copied(value) for key, value in self._data.items()}

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.copy(), **other} if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self.copy()} if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Mapping[str, Any]) -> Self:
        self.update(other)
        return self

    def clear(self) -> None:
        """Remove all keys. If one of them may not be removed, none is."""
        for key in self._data:
            self._check_writable(key)
        for key in list(self._data):
            del self[key]

    @overload
    def increment(self, key: str, by: int = 1, /) -> int: ...

    @overload
    def increment(self, key: str, /, *path: str, by: int = 1) -> int: ...

    def increment(self, key: str, /, *path: Any, by: int | None = None) -> int:
        """Add to a number and return the sum, without the increments of parallel requests.

        Increments of parallel requests always add up. Examples: `increment("visits")`,
        `increment("visits", 2)`, `increment("cart", "apple", by=2)`.

        Args:
            key: The key of the number; an absent number counts as 0.
            path: Keys of nested dicts below *key*; absent dicts are created.
            by: The number to add, an int (1).

        Raises:
            TypeError: The value is not an int, or a value on the path is not a dict.

        """
        if by is None:
            by = 1
            if path and not isinstance(path[-1], str):
                *path, by = path  # type: ignore[assignment]
        self._check_writable(key)
        if not is_count(by):
            raise TypeError(f"increment by a whole number, not by {by!r}")
        current = self._value_at(key, path, 0)
        if not is_count(current):
            name = _named(key, path)
            raise TypeError(f"{name} is a {type(current).__name__}: it cannot be incremented")
        self._serializer.check(key, _at(path, current + by))
        self._operate(key, _inside(path, Increment(by)))
        return int(current + by)

    @overload
    def append(self, key: str, value: Any, /, *, keep: int | None = None) -> None: ...

    @overload
    def append(self, key: str, /, *path: str, value: Any, keep: int | None = None) -> None: ...

    def append(self, key: str, /, *path: Any, value: Any = ABSENT, keep: int | None = None) -> None:
        """Append a value to a list. Appends of parallel requests are all kept.

        Examples: `append("seen", page)`, `append("log", "today", value=line, keep=100)`.

        Args:
            key: The key of the list; an absent list counts as empty.
            path: Keys of nested dicts below *key*; absent dicts are created.
            value: The value.
            keep: Keep only this number of values, the last ones (None: keep all).

        Raises:
            TypeError: The value there is not a list, or a value on the path is not a dict.

        """
        if value is ABSENT:
            if not path:
                raise TypeError("append() needs a value")
            *path, value = path  # type: ignore[assignment]
        self._check_writable(key)
        if keep is not None and (not is_count(keep) or keep < 1):
            raise TypeError(f"keep must be a whole number of at least 1, not {keep!r}")
        current = self._value_at(key, path, [])
        if not isinstance(current, list):
            name = _named(key, path)
            raise TypeError(f"{name} is a {type(current).__name__}: it cannot be appended to")
        self._serializer.check(key, _at(path, [value]))
        self._operate(key, _inside(path, Append((_copied(value),), keep)))

    def _value_at(self, key: str, path: Sequence[Any], default: Any) -> Any:
        """Return the value at the end of *path* below *key*, or *default*."""
        if not all(isinstance(name, str) for name in path):
            raise TypeError(f"the keys below session[{key!r}] must be str, not {path!r}")
        value = self._data.get(key, ABSENT)
        for depth, name in enumerate(path):
            if value is ABSENT:
                break
            if not isinstance(value, dict):
                where = _named(key, path[:depth])
                raise TypeError(f"{where} is a {type(value).__name__}, not a dict: it has no keys")
            value = value.get(name, ABSENT)
        return default if value is ABSENT else value

    def merge(
        self,
        other: Mapping[str, Any],
        combine: Callable[[str, Any, Any], Any] = keep_mine,
    ) -> None:
        """Add the items of *other*; for a key in both, keep `combine(key, mine, theirs)`."""
        for key, theirs in other.items():
            self[key] = combine(key, self[key], theirs) if key in self else _copied(theirs)

    def _operate(self, key: str, operation: Operation) -> None:
        """Record *operation* and show its result, also in containers that the handler has read."""
        before = self._data.get(key, ABSENT)
        if key in self._handed_out:
            nested = difference(self._handed_out[key], before)
            if nested is not None:
                _add(self._operations, key, nested)
        value = operation.apply(before)
        if value is ABSENT:
            del self._data[key]
        elif key in self._handed_out:
            self._data[key] = _brought_to(before, value)
            self._handed_out[key] = _copied(self._data[key])
        else:
            self._data[key] = value
        _add(self._operations, key, operation)


def _inside(path: Sequence[str], operation: Operation) -> Operation:
    """Return the operation that does *operation* at the end of *path*."""
    for name in reversed(path):
        operation = Update({name: operation})
    return operation


def _at(path: Sequence[str], value: Any) -> Any:
    """Return nested dicts with only *value*, at the end of *path*."""
    for name in reversed(path):
        value = {name: value}
    return value


def _named(key: str, path: Sequence[str]) -> str:
    return "".join(["session", *(f"[{name!r}]" for name in (key, *path))])


def _add(operations: dict[str, Operation], key: str, operation: Operation) -> None:
    earlier = operations.get(key)
    operations[key] = operation if earlier is None else earlier.then(operation)


def _copied(value: Any) -> Any:
    return value if type(value) in NEVER_CHANGES else copy.deepcopy(value)


def _brought_to(held: Any, value: Any) -> Any:
    """Change *held* in place to equal *value* and return it, or else a copy of *value*."""
    if same(held, value):
        return held
    if type(held) is type(value) is dict:
        brought = {
            key: _brought_to(held[key], item) if key in held else _copied(item)
            for key, item in value.items()
        }
        held.clear()
        held.update(brought)
        return held
    if type(held) is type(value) is list:
        common = [_brought_to(*pair) for pair in zip(held, value, strict=False)]
        held[:] = common + copy.deepcopy(value[len(common) :])
        return held
    if type(held) is type(value) is set:
        held.clear()
        held.update(value)
        return held
    return _copied(value)
