"""The document of a session: everything that is stored of it, as one JSON object."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from hello_tornado.sessions.records.lifetimes import AS_USUAL, OwnLifetime, moment_of
from hello_tornado.sessions.session.operations import Set, Unset, Update

OF_A_LIFETIME: Final = frozenset(OwnLifetime._fields)
LAST_MOMENT: Final = moment_of(datetime.max.replace(tzinfo=UTC))

Document: TypeAlias = dict[str, Any]
"""A dict with the keys "data" (set by handlers), "meta" (set by this library) and "user_id".

It is never changed in place.
"""


def _is_moment(value: Any) -> bool:
    return type(value) is int and 0 < value < LAST_MOMENT


def _holds(is_one: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(is_one, value.values()))


def _is_flash(value: Any) -> bool:
    return isinstance(value, list | tuple) and list(map(type, value)) == [str, str]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_device(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return isinstance(value.get("user_agent"), str) and isinstance(value.get("address"), str)


META: Final[Mapping[str, Callable[[Any], bool]]] = {
    "device": _is_device,
    "ends_at": _is_moment,
    "expiries": _holds(_is_moment),
    "flashes": _holds(_is_flash),
    "idle_timeout": _is_moment,
    "leases": _holds(_is_moment),
    "remember": lambda value: isinstance(value, bool),
    "versions": _holds(lambda value: type(value) is int),
    "xsrf": _is_text,
}
"""The names in "meta", each with a function that tells whether a value is valid for it."""


def is_ours(stored: Mapping[str, Any]) -> bool:
    """Whether *stored* is a document as this library writes it, without the user id."""
    data, meta = stored.get("data", {}), stored.get("meta", {})
    if not isinstance(data, dict) or not isinstance(meta, dict):
        return False
    for name, value in meta.items():
        is_one = META.get(name)
        if is_one is not None and not is_one(value):
            return False
    return True


def empty_document() -> Document:
    """Return the document of a new session."""
    return {"data": {}, "meta": {}, "user_id": None}


def is_empty(document: Document) -> bool:
    """Whether *document* has no user, no data and no other value that is set."""
    is_nobodys = document["user_id"] is None
    return is_nobodys and not document["data"] and not any(document["meta"].values())


def lifetime_of(meta: Mapping[str, Any]) -> OwnLifetime:
    """Return the lifetime settings that a session has of its own."""
    if OF_A_LIFETIME.isdisjoint(meta):
        return AS_USUAL
    return OwnLifetime(meta.get("remember"), meta.get("idle_timeout"), meta.get("ends_at"))


def without_expired_keys(document: Document, now: int) -> Document:
    """Return *document* without the keys that have expired."""
    expiries = document["meta"].get("expiries")
    if not expiries:
        return document
    over = Update({key: Unset() for key, expires_at in expiries.items() if expires_at <= now})
    if not over:
        return document
    return Update({"data": over, "meta": Update({"expiries": over})}).apply(document)


def drop_replaced_expiries(before: Document, after: Document, changes: Update) -> None:
    """Remove from *after* the expiry times of keys that *changes* have set again or removed.

    The request that made the changes may not have known the expiry time, because a parallel request
    has set it since.
    """
    expiries = before["meta"].get("expiries")
    if not expiries:
        return
    data, state = changes.operations.get("data"), changes.operations.get("meta")
    if not isinstance(data, Update):
        return
    given = state.operations.get("expiries") if isinstance(state, Update) else None
    named = given.operations.keys() if isinstance(given, Update) else ()
    replaced = [
        key
        for key in expiries.keys() & data.operations.keys() - set(named)
        if isinstance(data.operations[key], Set | Unset)
    ]
    if replaced:
        kept = {key: when for key, when in expiries.items() if key not in replaced}
        after["meta"] = after["meta"] | {"expiries": kept}
