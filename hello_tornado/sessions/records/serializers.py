"""Serialize session data as JSON, with tags for the Python types that JSON lacks.

A tagged value is an object with one key that begins with "$": {"$date": "2026-11-23"}. If a mapping
in the data looks like that, its key is written with another "$" in front, which is removed when the
data is read.
"""

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from hello_tornado.sessions.errors import SerializationError
from hello_tornado.sessions.records.json_text import JsonText, installed, reader
from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.records.values import is_utf8

Clock = TypeVar("Clock", datetime, time)

MAX_DEPTH = 64
MAX_INT = 2**63 - 1


class Serializer(Protocol):
    """Converts the documents of sessions to bytes and back, as `JsonSerializer` does."""

    def check(self, key: str, value: Any, /) -> None:
        """Raise `SerializationError`, with the place of the value, if *value* cannot be stored.

        Args:
            key: The key of the session under which the value is set.
            value: The value.

        """

    def dumps(self, document: Mapping[str, Any], /) -> bytes:
        """Return *document* as bytes; raise `SerializationError` if a value cannot be stored."""

    def loads(self, raw: bytes, /) -> dict[str, Any]:
        """Return a new document from bytes; raise `SerializationError` if they are not one."""


class JsonSerializer:
    """Serialize documents as JSON.

    Beside the types of JSON, a document may contain datetime, date, time, timedelta, bytes, set,
    frozenset, tuple, Decimal and UUID.

    - Mappings must have str keys and are read as dicts.
    - Numbers must be finite, and ints must fit in 64 bits.
    - A str must not contain lone surrogates.
    - Values are nested at most 64 levels deep.
    - Datetimes and times keep their time zone (a `datetime.timezone` or a `zoneinfo.ZoneInfo`) and
      their fold.

    Args:
        text: The library that writes and reads JSON (msgspec if installed, else `json`).

    """

    def __init__(self, text: JsonText | None = None) -> None:
        self._text = text or installed()

    def check(self, key: str, value: Any, /) -> None:
        """Raise `SerializationError`, with the place of the value, if *value* cannot be stored."""
        if not isinstance(key, str):
            raise SerializationError(f"session key {key!r} must be a str, not {_kind(key)}")
        if not key.isascii():
            _check_scalar(key, f"session key {key!r}")
        if not _is_plain(value):
            to_json(value, key)

    def dumps(self, document: Mapping[str, Any], /) -> bytes:
        """Return compact JSON in UTF-8."""
        return self._text.encode(to_json(document, ""))

    def loads(self, raw: bytes, /) -> dict[str, Any]:
        """Return the document that `dumps` was given."""
        try:
            document = _read_tagged(raw) if b'"$' in raw else self._text.decode(raw)
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise SerializationError(f"unreadable session data: {type(error).__name__}") from error
        if not isinstance(document, dict):
            raise SerializationError(f"session data must be a mapping, not {_kind(document)}")
        return document


def to_json(value: Any, path: str, *, escaped: bool = True) -> Any:
    """Return *value* in the types of JSON. Values that are JSON already are not copied.

    Args:
        value: The value.
        path: The name of the value in the error message.
        escaped: Whether mappings that look like tagged values are escaped. `JsonSerializer.loads`
            can read the escaped form only; the other one is for display.

    Raises:
        SerializationError: The value cannot be stored.

    """
    return _to_json(value, path, 1, escaped)


def _to_json(value: Any, path: str, depth: int, escaped: bool) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        _check_scalar(value, path)
        return value
    if depth > MAX_DEPTH:
        raise SerializationError(f"{path[:80]}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return _mapping_to_json(value, path, depth, escaped)
    if kind is list:
        return [
            _to_json(item, f"{path}[{place}]", depth + 1, escaped)
            for place, item in enumerate(value)
        ]
    tag = _TAGS_BY_TYPE.get(kind)
    if tag is None:
        raise SerializationError(f"{path}: {_kind(value)} cannot be stored in a session")
    try:
        encoded = _ENCODERS[tag](value)
    except ValueError as error:
        raise SerializationError(f"{path}: {error}") from None
    return {tag: _to_json(encoded, path, depth + 1, escaped)}


def _mapping_to_json(value: dict[Any, Any], path: str, depth: int, escaped: bool) -> Any:
    members = value if type(value) is dict else dict(value)
    for key, item in value.items():
        if type(key) is not str:
            raise SerializationError(f"{path}: the key {key!r} of a mapping must be a str")
        if not key.isascii():
            _check_scalar(key, f"{path}: the key {key!r}")
        if _is_plain(item):
            continue
        inner = _to_json(item, f"{path}.{key}" if path else key, depth + 1, escaped)
        if inner is not item:
            members = dict(value) if members is value else members
            members[key] = inner
    if escaped and _looks_tagged(members):
        return {"$" + key: item for key, item in members.items()}
    return members


def _is_plain(value: Any) -> bool:
    """Whether *value* needs no conversion and no further check, as most values do not."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii())
    return kind in _AS_THEY_ARE or (kind is int and -MAX_INT <= value <= MAX_INT)


def _check_scalar(value: Any, path: str) -> None:
    if isinstance(value, str) and not is_utf8(value):
        raise SerializationError(f"{path}: a lone surrogate, which UTF-8 cannot encode")
    if isinstance(value, int) and not -MAX_INT - 1 <= value <= MAX_INT:
        raise SerializationError(f"{path}: an int beyond 64 bits; store it as str or Decimal")
    if isinstance(value, float) and not math.isfinite(value):
        raise SerializationError(f"{path}: {value} is not a number in JSON")


def _looks_tagged(members: Mapping[str, Any]) -> bool:
    return len(members) == 1 and next(iter(members)).startswith("$")


def _from_object(members: dict[str, Any]) -> Any:
    if not _looks_tagged(members):
        return members
    ((tag, value),) = members.items()
    if tag.startswith("$$"):
        return {tag[1:]: value}
    try:
        return _DECODERS[tag](value)
    except (KeyError, AttributeError, InvalidOperation, binascii.Error, OSError) as error:
        raise ValueError(f"not a value of the kind {tag}") from error


def _clock_to_json(value: datetime | time) -> Any:
    """Return ISO 8601 if that is the whole value; else the value without a zone, its fold and zone.

    ISO 8601 has an offset, which does not identify a zone, and `time.isoformat()` omits a named
    zone.
    """
    zone = value.tzinfo
    is_iso = zone is None or (type(zone) is timezone and _own_name(zone) is None)
    if is_iso and not value.fold:
        return value.isoformat()
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _zone_to_json(zone)]


def _clock_from_json(kind: type[Clock], given: Any) -> Clock:
    if isinstance(given, str):
        return kind.fromisoformat(given)
    text, fold, zone = given
    return kind.fromisoformat(text).replace(fold=fold, tzinfo=_zone_from_json(zone))


def _own_name(zone: timezone) -> str | None:
    """Return the name that a fixed offset was given, or None."""
    is_nameless = repr(zone) == repr(timezone(zone.utcoffset(None)))
    return None if is_nameless else zone.tzname(None)


def _zone_to_json(zone: tzinfo | None) -> Any:
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key:
        return zone.key
    if type(zone) is timezone:
        return [zone.utcoffset(None) // MICROSECOND, _own_name(zone)]
    raise ValueError(
        f"the time zone is {_kind(zone)}, which cannot be stored: use a zoneinfo.ZoneInfo or a "
        "datetime.timezone, such as value.astimezone(timezone.utc)"
    )


def _zone_from_json(zone: Any) -> tzinfo | None:
    match zone:
        case None:
            return None
        case str():
            return ZoneInfo(zone)
        case [offset, None]:
            return timezone(offset * MICROSECOND)
        case [offset, name]:
            return timezone(offset * MICROSECOND, name)
    raise ValueError("not a time zone")


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__qualname__}"


_read_tagged: Final = reader(_from_object)
_AS_THEY_ARE: Final = frozenset({type(None), bool})
_SCALARS: Final = _AS_THEY_ARE | {str, int, float}
_TAGS_BY_TYPE: Mapping[type, str] = {
    datetime: "$datetime",
    date: "$date",
    time: "$time",
    timedelta: "$timedelta",
    bytes: "$bytes",
    set: "$set",
    frozenset: "$frozenset",
    tuple: "$tuple",
    Decimal: "$decimal",
    UUID: "$uuid",
}
_ENCODERS: Mapping[str, Callable[[Any], Any]] = {
    "$datetime": _clock_to_json,
    "$date": date.isoformat,
    "$time": _clock_to_json,
    "$timedelta": lambda value: value // MICROSECOND,
    "$bytes": lambda value: base64.b64encode(value).decode("ascii"),
    "$set": list,
    "$frozenset": list,
    "$tuple": list,
    "$decimal": str,
    "$uuid": str,
}
_DECODERS: Mapping[str, Callable[[Any], Any]] = {
    "$datetime": partial(_clock_from_json, datetime),
    "$date": date.fromisoformat,
    "$time": partial(_clock_from_json, time),
    "$timedelta": lambda value: value * MICROSECOND,
    "$bytes": lambda value: base64.b64decode(value, validate=True),
    "$set": set,
    "$frozenset": frozenset,
    "$tuple": tuple,
    "$decimal": Decimal,
    "$uuid": UUID,
}
