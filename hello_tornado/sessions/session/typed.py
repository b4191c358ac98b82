"""A session as an object: its keys are the fields of a dataclass, a struct or a model.

Changes of the object become operations on the keys, like any other change.
"""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from hello_tornado.sessions.errors import SerializationError
from hello_tornado.sessions.session.operations import (
    NO_CHANGES,
    IfAbsent,
    IfPresent,
    Operation,
    Set,
    Update,
    differences,
    put,
    same,
)

M = TypeVar("M")

KEPT_AS_THEY_ARE: Final = (bytes, date, datetime, time, timedelta, Decimal, UUID)


class Form(NamedTuple):
    """How objects of a class are converted from and to plain values.

    - `names`: the fields.
    - `build`: makes an object of a dict of plain values.
    - `plain`: makes a dict of plain values of an object.
    """

    names: frozenset[str]
    build: Callable[[dict[str, Any]], Any]
    plain: Callable[[Any], dict[str, Any]]


class View(Generic[M]):
    """An object made of a session's data; the handler gets `object`."""

    def __init__(
        self,
        model: type[M],
        data: Mapping[str, Any],
        versions: Mapping[str, int],
        key: str | None = None,
    ) -> None:
        self.name = model.__name__
        self._key, self._is_key_there = key, key in data
        if key is not None:
            data = data.get(key, {})
        if not isinstance(data, dict):
            raise TypeError(
                f"session[{key!r}] is a {type(data).__name__}: {self.name} needs a dict"
            )
        self._stamped = self.name if key is None else f"{key}: {self.name}"
        version = versions.get(self._stamped, 1)
        self._form = form_of(model)
        self._version: int = getattr(model, "session_version", 1)
        self._stored_version = version
        self._beside: dict[str, Any] = {}
        self._stored_keys = set(data)
        given = deepcopy(dict(data))
        if is_old := bool(data) and version < self._version:
            upgrade: Any = model
            self._beside = given = upgrade.upgrade_session(deepcopy(given), version)
        self.object: M = self._built({key: given[key] for key in given if key in self._form.names})
        self._opened = self._plain()
        self._base = deepcopy(dict(data)) if is_old else self._opened

    def covers(self, key: str) -> bool:
        """Whether the object has the value of the session's *key*."""
        return key in self._form.names if self._key is None else key == self._key

    def changes(self) -> Update:
        """Return the changes of the object, and if there are any also those of the upgrade."""
        changes = self._changes()
        if self._key is None or not changes:
            return changes
        inside = IfPresent(changes)  # a dict that a parallel request removes must stay removed
        return Update({self._key: inside if self._is_key_there else IfAbsent({}).then(inside)})

    def _changes(self) -> Update:
        now = self._plain()
        if same(self._opened, now):
            return NO_CHANGES
        changes = differences(self._base, self._beside | now).operations
        return Update(
            {
                key: operation
                if key in self._stored_keys or key not in self._base
                else self._put(key, operation, now[key])
                for key, operation in changes.items()
            }
        )

    def _put(self, key: str, operation: Operation, value: Any) -> Operation:
        """Return the operation that stores *value*, made by *operation* from an unsaved default."""
        if isinstance(operation, Set):
            return put(value)
        return IfAbsent(self._base[key]).then(operation)

    def stamp(self) -> Update:
        """Return the operation that stores the version of the class, if there are changes."""
        if self._stored_version >= self._version or not self._changes():
            return NO_CHANGES
        return Update({"versions": Update({self._stamped: Set(self._version)})})

    def settle(self) -> None:
        """Note that all changes so far are stored."""
        self._stored_keys |= (changes := self._changes().operations).keys()
        self._is_key_there |= bool(changes)
        self._stored_version = max(self._stored_version, self._version)
        self._opened = self._base = self._plain()
        self._beside = {}

    def _plain(self) -> dict[str, Any]:
        plain = self._form.plain(self.object)
        return {key: deepcopy(plain[key]) for key in plain if key in self._form.names}

    def _built(self, data: dict[str, Any]) -> M:
        try:
            built: M = self._form.build(data)
        except Exception as error:  # noqa: BLE001 - each library has its own errors
            # The message of the error may quote values of the session, so it is not shown.
            raise SerializationError(
                f"the session's data does not fit {self.name} ({type(error).__name__}): give it "
                "defaults, or a session_version and upgrade_session(data, version)"
            ) from None
        return built


def form_of(model: Any) -> Form:
    """Return the conversions of *model*, a dataclass, a msgspec struct or a pydantic model."""
    if dataclasses.is_dataclass(model):
        names = frozenset(field.name for field in dataclasses.fields(model) if field.init)
        return Form(names, partial(_dataclass, model), dataclasses.asdict)
    if hasattr(model, "__struct_encode_fields__"):
        import msgspec  # noqa: PLC0415 - an application that has such a class has installed it

        plain = partial(msgspec.to_builtins, builtin_types=KEPT_AS_THEY_ARE)
        build = partial(msgspec.convert, type=model)
        return Form(frozenset(model.__struct_encode_fields__), build, plain)
    if hasattr(model, "model_validate"):
        build = partial(model.model_validate, by_alias=False, by_name=True)
        return Form(frozenset(model.model_fields), build, model.model_dump)
    raise TypeError(f"{model!r} is not a dataclass, a msgspec.Struct or a pydantic model")


def _dataclass(model: Any, data: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(model)
    known = [field.name for field in dataclasses.fields(model) if field.init]
    return model(**{name: _field(hints[name], data[name]) for name in known if name in data})


def _field(hint: Any, value: Any) -> Any:
    """Convert dicts to the dataclasses of *hint*: itself, in a list or dict, or optional."""
    members = typing.get_args(hint)
    if isinstance(value, list) and typing.get_origin(hint) is list:
        return [_field(members[0], item) for item in value]
    if isinstance(value, dict):
        if typing.get_origin(hint) is dict:
            return {key: _field(members[1], item) for key, item in value.items()}
        for model in filter(dataclasses.is_dataclass, (hint, *members)):
            return _dataclass(model, value)
    return value
