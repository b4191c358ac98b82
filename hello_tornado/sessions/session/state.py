"""The state of a session beside its data: flashes, lifetimes, expiring keys, device, leases.

Its changes are recorded like those of the data.
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
    """A message for the next page; `category` is a word such as "info" or "error"."""

    category: str
    message: str


class MetaDict(TrackedDict):
    """A tracked dict that also records changes of the session's state."""

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
        self._flashes_kept: frozenset[str] = frozenset()  # those of them for the next request
        self._meta = meta
        self._draft = Draft()

    @property
    def _is_refused(self) -> bool:
        """Whether this page may not write, although the session is valid."""
        return False

    def _operate_meta(self, name: str, operation: Operation) -> None:
        """Record *operation* unless it changes nothing."""
        update = Update({name: operation})
        meta = update.apply(self._meta)
        if not same(meta, self._meta):
            self._meta = meta
            self._draft.state = self._draft.state.merged_with(update)

    def flash(self, message: str, category: str = "info") -> None:
        """Store a message for the next page that calls `flashes()`.

        Args:
            message: The text.
            category: A word for the page, such as "error" ("info").

        Raises:
            TypeError: One of them is not a str.
            ValueError: One of them contains a lone surrogate.

        """
        check_flash(message, category)
        self._check_writable()
        self._operate_meta("flashes", Update({secrets.token_hex(4): Set([category, message])}))

    def flash_now(self, message: str, category: str = "info") -> None:
        """Show a message on the page of this request only, without storing it.

        The arguments and errors are those of `flash()`.
        """
        check_flash(message, category)
        self._flashes_of_now.append(Flash(category, message))

    def flashes(self) -> list[Flash]:
        """Return the messages for this page, oldest first, and remove them from the store.

        Further calls in the same request return the same messages. A page that may not write, such
        as one with `session_read_only`, gets only those of `flash_now()`; the others stay stored.
        Pages that load at the same moment read the same messages, so both may show them.
        """
        flashes = self._meta.get("flashes", {})
        waiting = {name: flashes[name] for name in flashes if name not in self._flashes_kept}
        if waiting and not self._is_refused:
            self._check_writable()
            self._operate_meta("flashes", Update({name: Unset() for name in waiting}))
            self._flashes_shown |= {name: Flash(*flash) for name, flash in waiting.items()}
        return [*self._flashes_shown.values(), *self._flashes_of_now]

    def keep_flashes(self) -> None:
        """Show the messages that `flashes()` returned in this request on the next page, too."""
        self._check_writable()
        kept = {name: Set([*flash]) for name, flash in self._flashes_shown.items()}
        self._operate_meta("flashes", Update(kept))
        self._flashes_kept = frozenset(kept)

    def expire(self, key: str, after: timedelta | float) -> None:
        """Let a key expire. The rest of the session is unaffected.

        Setting the key again cancels this. Incrementing it or appending to it does not.

        Args:
            key: The key.
            after: How long it is kept, as a timedelta or a number of seconds.

        Raises:
            KeyError: There is no such key.
            ValueError: `after` is not longer than zero or is more than 36500 days.

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
        """Add the items of another mapping, such as a user's session on another device.

        Args:
            other: The other mapping.
            combine: Called as `combine(key, mine, theirs)` for each key that both have; returns the
                value to keep. By default, the value in this session is kept.

        """
        super().merge(other, combine)
        theirs = other._versions if isinstance(other, MetaDict) else {}
        if new := {name: Set(theirs[name]) for name in theirs if name not in self._versions}:
            self._operate_meta("versions", Update(new))

    @property
    def _versions(self) -> Mapping[str, int]:
        """For each class that `typed()` was called with: the version that wrote the data."""
        versions: Mapping[str, int] = self._meta.get("versions", {})
        return versions

    def _operate(self, key: str, operation: Operation) -> None:
        if key in self._meta.get("expiries", {}):
            if isinstance(operation, Increment | Append | Update):
                # The key may have expired by the time this is stored. Then it must not be created
                # again, because the new value would never expire.
                operation = IfPresent(operation)
            else:
                self._operate_meta("expiries", Update({key: Unset()}))
        super()._operate(key, operation)

    @property
    def device(self) -> Device | None:
        """The device on which the user logged in, or None."""
        device = self._meta.get("device")
        return None if device is None else Device(device["user_agent"], device["address"])

    def _note_device(self, device: Device) -> None:
        user_agent = device.user_agent[:MAX_USER_AGENT]
        noted = {"user_agent": user_agent, "address": device.address}
        self._operate_meta("device", Set(noted))

    def _remember_xsrf_token(self, token: bytes) -> None:
        """Store the token of the form on the page that begins this session; a login removes it."""
        self._operate_meta("xsrf", Set(hashlib.sha256(token).hexdigest()))

    def _remembers_xsrf_token(self, token: bytes) -> bool:
        return self._meta.get("xsrf") == hashlib.sha256(token).hexdigest()

    def _forget_xsrf_token(self) -> None:
        if "xsrf" in self._meta:
            self._operate_meta("xsrf", Unset())

    @property
    def leases(self) -> Mapping[str, int]:
        """The leases of exclusive requests: for each token, the moment at which it ends."""
        leases: Mapping[str, int] = self._meta.get("leases", {})
        return leases

    @property
    def lifetime(self) -> OwnLifetime:
        """The lifetime settings of this session only."""
        return lifetime_of(self._meta)

    @property
    def idle_timeout(self) -> timedelta | None:
        """The idle timeout of this session only; None if that of the manager's `Lifetimes` applies.

        Set it to a timedelta, a number of seconds, or None. The absolute timeout still applies, or
        `remembered` for a login with `remember=True`. Raises `ValueError` unless the value is
        longer than zero and at most 36500 days.
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
                "expires_at must be an aware datetime, such as "
                "datetime.now(UTC) + timedelta(hours=2)"
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
        """Whether this request has changed the lifetime, so that the cookie must be sent again."""
        changed = self._draft.state.operations
        return bool(changed) and not changed.keys().isdisjoint(OwnLifetime._fields)


def _duration(name: str, value: timedelta | float) -> timedelta:
    duration = options.as_duration(value)
    if duration is None or not timedelta(0) < duration <= options.LONGEST:
        raise ValueError(
            f"{name} must be a timedelta or a number of seconds, longer than zero and at most "
            f"{options.LONGEST.days} days; destroy() ends a session"
        )
    return duration
