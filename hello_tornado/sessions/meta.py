"""What belongs to a session and not to its handlers, recorded like their data.

That is: messages for the next page, the session's own lifetime, and those of single keys.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from hello_tornado.sessions.changes import (
    Append,
    IfPresent,
    Increment,
    Operation,
    Set,
    Unset,
    Update,
    same,
)
from hello_tornado.sessions.devices import MAX_USER_AGENT, Device
from hello_tornado.sessions.document import max_age_of
from hello_tornado.sessions.draft import Draft
from hello_tornado.sessions.lifetimes import MICROSECOND, MaxAge, moment_of
from hello_tornado.sessions.recording import RecordingDict, keep_mine
from hello_tornado.sessions.serializers import Serializer
from hello_tornado.sessions.values import check_flash

BROWSER: Final = "browser"


class MetaDict(RecordingDict):
    """A recording dict that records, beside the data, what is said about the session itself."""

    __slots__ = ("_draft", "_flashes_of_now", "_flashes_shown", "_meta", "_opened_at")

    def __init__(
        self, data: dict[str, Any], meta: dict[str, Any], serializer: Serializer, opened_at: int
    ) -> None:
        super().__init__(data, serializer)
        self._opened_at = opened_at
        self._flashes_of_now: list[tuple[str, str]] = []
        self._flashes_shown: dict[str, Operation] = {}
        self._meta = meta
        self._draft = Draft()

    def _operate_meta(self, name: str, operation: Operation) -> None:
        """Record *operation*; one that changes nothing is not recorded."""
        update = Update({name: operation})
        meta = update.apply(self._meta)
        if not same(meta, self._meta):
            self._meta = meta
            self._draft.state = self._draft.state.merged_with(update)

    def flash(self, message: str, category: str = "info") -> None:
        """Leave a message for the next page that asks for `flashes()`."""
        check_flash(message, category)
        self._check_writable()
        self._operate_meta("flashes", Update({secrets.token_hex(4): Set([category, message])}))

    def flash_now(self, message: str, category: str = "info") -> None:
        """A message for the page of this request only; it is never stored."""
        check_flash(message, category)
        self._flashes_of_now.append((category, message))

    def flashes(self) -> list[tuple[str, str]]:
        """The messages left so far, as (category, message), oldest first; each is shown once.

        Pages that load at the same moment read the same messages, so each of them may show one.
        """
        waiting = self._meta.get("flashes", {})
        if waiting:
            self._check_writable()
            self._operate_meta("flashes", Update({name: Unset() for name in waiting}))
        self._flashes_shown |= {name: Set(flash) for name, flash in waiting.items()}
        of_now, self._flashes_of_now = self._flashes_of_now, []
        return [*((category, message) for category, message in waiting.values()), *of_now]

    def keep_flashes(self) -> None:
        """Show the messages that this request has asked for once more, on the next page."""
        self._check_writable()
        self._operate_meta("flashes", Update(self._flashes_shown))

    def expire(self, key: str, after: timedelta | float) -> None:
        """Remove *key* when *after* (a timedelta or seconds) is over, unless it is set again.

        `KeyError` when there is no such key. Counting and appending leave its time as it is.
        """
        self._check_writable()
        if key not in self:
            raise KeyError(key)
        expires_at = self._opened_at + _duration("a key's time", after) // MICROSECOND
        self._operate_meta("expiries", Update({key: Set(expires_at)}))

    def merge(
        self,
        other: Mapping[str, Any],
        combine: Callable[[str, Any, Any], Any] = keep_mine,
    ) -> None:
        """Take over what *other* holds; of a key in both, `combine(key, mine, theirs)` stays.

        For what was gathered elsewhere, such as the cart in a user's session on another device.
        """
        super().merge(other, combine)
        theirs = other._versions if isinstance(other, MetaDict) else {}
        if new := {name: Set(theirs[name]) for name in theirs if name not in self._versions}:
            self._operate_meta("versions", Update(new))

    @property
    def _versions(self) -> Mapping[str, int]:
        """Which version of a class has written the data, by the class's name."""
        versions: Mapping[str, int] = self._meta.get("versions", {})
        return versions

    def _operate(self, key: str, operation: Operation) -> None:
        if key in self._meta.get("expiries", {}):
            if isinstance(operation, Increment | Append):
                # It belongs to a value that may have run out by now: then there is nothing to
                # count on, and a new value would never run out.
                operation = IfPresent(operation)
            else:
                self._operate_meta("expiries", Update({key: Unset()}))
        super()._operate(key, operation)

    @property
    def device(self) -> Device | None:
        """Where its user has logged in."""
        device = self._meta.get("device")
        return None if device is None else Device(device["user_agent"], device["address"])

    def _note_device(self, device: Device) -> None:
        user_agent = device.user_agent[:MAX_USER_AGENT]
        noted = {"user_agent": user_agent, "address": device.address}
        self._operate_meta("device", Set(noted))

    @property
    def leases(self) -> Mapping[str, int]:
        """Who has the session to themselves, and until when."""
        leases: Mapping[str, int] = self._meta.get("leases", {})
        return leases

    @property
    def max_age(self) -> MaxAge | None:
        """This session's own lifetime; None when it has the manager's and the cookie's.

        A timedelta, or a number of seconds: its idle timeout, and its cookie lives as long
        ("remember me"). An aware datetime: it ends then. "browser": its cookie ends when the
        browser is closed. The absolute timeout holds all the same.
        """
        return max_age_of(self._meta)

    @max_age.setter
    def max_age(self, value: MaxAge | float | None) -> None:
        self._check_writable()
        match value:
            case None:
                self._operate_meta("max_age", Unset())
                return
            case datetime():
                if value.tzinfo is None or moment_of(value) <= self._opened_at:
                    raise ValueError("a session ends at an aware datetime in the future")
            case str():
                if value != BROWSER:
                    raise ValueError(f'max_age is a duration, a datetime or "browser": {value!r}')
            case _:
                value = _duration("max_age", value)
        self._operate_meta("max_age", Set(value))

    @property
    def is_max_age_changed(self) -> bool:
        """Whether the browser has to be told of another lifetime."""
        return "max_age" in self._draft.state.operations


def _duration(name: str, value: timedelta | float) -> timedelta:
    duration = value if isinstance(value, timedelta) else timedelta(seconds=value)
    if duration <= timedelta(0):
        raise ValueError(f"{name} must be longer than zero; destroy() ends a session")
    return duration
