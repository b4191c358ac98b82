"""What belongs to a session and not to its handlers, recorded like their data.

That is: messages for the next page, the session's own lifetime, and those of single keys.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from hello_tornado.sessions import options
from hello_tornado.sessions.records.lifetimes import MICROSECOND, OwnLifetime, moment_of
from hello_tornado.sessions.records.serializers import Serializer
from hello_tornado.sessions.records.values import check_flash
from hello_tornado.sessions.session.device import MAX_USER_AGENT, Device
from hello_tornado.sessions.session.document import lifetime_of
from hello_tornado.sessions.session.draft import Draft
from hello_tornado.sessions.session.operations import (
    Append,
    IfPresent,
    Increment,
    Operation,
    Set,
    Unset,
    Update,
    same,
)
from hello_tornado.sessions.session.tracked_dict import TrackedDict, keep_mine


class Flash(NamedTuple):
    """A message for the next page."""

    category: str
    message: str


class MetaDict(TrackedDict):
    """A tracked dict that tracks, beside the data, what is said about the session itself."""

    __slots__ = (
        "_draft",
        "_flashes_kept",
        "_flashes_of_now",
        "_flashes_shown",
        "_meta",
        "_opened_at",
    )

    def __init__(
        self, data: dict[str, Any], meta: dict[str, Any], serializer: Serializer, opened_at: int
    ) -> None:
        super().__init__(data, serializer)
        self._opened_at = opened_at
        self._flashes_of_now: list[Flash] = []
        self._flashes_shown: dict[str, Flash] = {}
        self._flashes_kept: frozenset[str] = frozenset()  # of those, for the next request
        self._meta = meta
        self._draft = Draft()

    @property
    def _is_refused(self) -> bool:
        """Whether no write is accepted here, though the session lives."""
        return False

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
        self._flashes_of_now.append(Flash(category, message))

    def flashes(self) -> list[Flash]:
        """The messages left so far, oldest first; those of this request when it asks again.

        Each is shown by one request. A page that must not write, such as one with
        `session_read_only`, shows only what `flash_now()` has left, and the others stay. Pages that
        load at the same moment read the same messages, so each of them may show one.
        """
        flashes = self._meta.get("flashes", {})
        waiting = {name: flashes[name] for name in flashes if name not in self._flashes_kept}
        if waiting and not self._is_refused:
            self._check_writable()
            self._operate_meta("flashes", Update({name: Unset() for name in waiting}))
            self._flashes_shown |= {name: Flash(*flash) for name, flash in waiting.items()}
        return [*self._flashes_shown.values(), *self._flashes_of_now]

    def keep_flashes(self) -> None:
        """Show the messages that this request has asked for once more, on the next page."""
        self._check_writable()
        kept = {name: Set([*flash]) for name, flash in self._flashes_shown.items()}
        self._operate_meta("flashes", Update(kept))
        self._flashes_kept = frozenset(kept)

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
            if isinstance(operation, Increment | Append | Update):
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

    def _remember_xsrf_token(self, token: bytes) -> None:
        """Note the token of the form on the page that begins this session; a login forgets it."""
        self._operate_meta("xsrf", Set(hashlib.sha256(token).hexdigest()))

    def _remembers_xsrf_token(self, token: bytes) -> bool:
        return self._meta.get("xsrf") == hashlib.sha256(token).hexdigest()

    def _forget_xsrf_token(self) -> None:
        if "xsrf" in self._meta:
            self._operate_meta("xsrf", Unset())

    @property
    def leases(self) -> Mapping[str, int]:
        """Who has the session to themselves, and until when."""
        leases: Mapping[str, int] = self._meta.get("leases", {})
        return leases

    @property
    def lifetime(self) -> OwnLifetime:
        """What this session says of its own life."""
        return lifetime_of(self._meta)

    @property
    def idle_timeout(self) -> timedelta | None:
        """This session's own idle timeout; None when it has that of the manager's `Lifetimes`.

        Settable: a timedelta, a number of seconds, or None. The absolute timeout holds all the
        same, and that of a remembered session.
        """
        own = self.lifetime.idle_timeout
        return None if own is None else own * MICROSECOND

    @idle_timeout.setter
    def idle_timeout(self, value: timedelta | float | None) -> None:
        self._check_writable()
        own = None if value is None else _duration("idle_timeout", value) // MICROSECOND
        self._operate_meta("idle_timeout", Unset() if own is None else Set(own))

    def _end_at(self, when: datetime | None) -> None:
        self._check_writable()
        if when is None:
            self._operate_meta("ends_at", Unset())
            return
        if not isinstance(when, datetime) or when.tzinfo is None:
            raise ValueError(
                "expires_at is an aware datetime, such as datetime.now(UTC) + timedelta(hours=2)"
            )
        if (moment := moment_of(when)) <= self._opened_at:
            raise ValueError("expires_at is in the past; destroy() ends a session now")
        if moment > self._opened_at + options.LONGEST // MICROSECOND:
            raise ValueError(f"expires_at is more than {options.LONGEST.days} days away")
        self._operate_meta("ends_at", Set(moment))

    def _remember(self, remember: bool) -> None:
        self._operate_meta("remember", Set(remember))

    @property
    def is_lifetime_changed(self) -> bool:
        """Whether the browser has to be told of another lifetime."""
        changed = self._draft.state.operations
        return bool(changed) and not changed.keys().isdisjoint(OwnLifetime._fields)


def _duration(name: str, value: timedelta | float) -> timedelta:
    duration = options.as_duration(value)
    if duration is None or not timedelta(0) < duration <= options.LONGEST:
        raise ValueError(
            f"{name} is a timedelta or a number of seconds, longer than zero and at most "
            f"{options.LONGEST.days} days; destroy() ends a session"
        )
    return duration
