"""What happened to sessions, told to whoever listens: logs, metrics, an audit trail.

An event names a session by its handle, never by its id or key.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeAlias

logger = logging.getLogger("hello_tornado.sessions")


class EndedReason(StrEnum):
    """Why a session, or only an id of it, is no longer good."""

    EXPIRED = "expired"  # nobody used it for too long, or its absolute timeout came
    LOGGED_OUT = "logged_out"  # by a request of its own
    REVOKED = "revoked"  # by somebody else: another device, an administrator, a session limit
    RENEWED = "renewed"  # it goes on under another id
    ENDED = "ended"  # nobody can say why


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """The root of all events; `level` is that of its line in the log.

    A limited event is one that a client can cause again with each request that it sends.
    """

    level: ClassVar[int] = logging.INFO
    is_limited: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class Created(SessionEvent):
    """A session was stored for the first time."""

    handle: str
    user_id: str | None


@dataclass(frozen=True, slots=True)
class Renewed(SessionEvent):
    """A session has a new id; the old one is dead. A login renews."""

    handle: str
    user_id: str | None


@dataclass(frozen=True, slots=True)
class LoggedIn(SessionEvent):
    """A session is now this user's."""

    handle: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Expired(SessionEvent):
    """Somebody came with the cookie of a session whose time is up, before a purge deleted it."""

    is_limited: ClassVar[bool] = True
    handle: str
    user_id: str | None


@dataclass(frozen=True, slots=True)
class Ended(SessionEvent):
    """A session was ended, by a logout or a revocation."""

    handle: str
    user_id: str | None
    reason: EndedReason


@dataclass(frozen=True, slots=True)
class TombstoneFailed(SessionEvent):
    """Sessions were ended, but why could not be stored: nobody will be told the reason."""

    level: ClassVar[int] = logging.WARNING
    cause: str


@dataclass(frozen=True, slots=True)
class CommitDropped(SessionEvent):
    """A request's changes were dropped: its session had ended, or had become another user's.

    Also when the request came with an id that had been replaced or ended less than a minute ago.
    """

    level: ClassVar[int] = logging.WARNING
    handle: str


@dataclass(frozen=True, slots=True)
class RecordUnreadable(SessionEvent):
    """A stored session could not be read: requests with its id get a 503, and the row stays."""

    level: ClassVar[int] = logging.WARNING
    is_limited: ClassVar[bool] = True
    handle: str
    cause: str


@dataclass(frozen=True, slots=True)
class TouchFailed(SessionEvent):
    """The store did not take a later expiry; the request went on, for nothing of it was lost."""

    level: ClassVar[int] = logging.WARNING
    is_limited: ClassVar[bool] = True
    handle: str
    cause: str


@dataclass(frozen=True, slots=True)
class LeaseNotReleased(SessionEvent):
    """A request could not say that it is done with its session; the lease will run out."""

    level: ClassVar[int] = logging.WARNING
    handle: str
    cause: str


@dataclass(frozen=True, slots=True)
class CookieRejected(SessionEvent):
    """A cookie of our name was no session; `reason` says why, without its value."""

    level: ClassVar[int] = logging.WARNING
    is_limited: ClassVar[bool] = True
    reason: str


@dataclass(frozen=True, slots=True)
class RequestForbidden(SessionEvent):
    """A request was refused because another site may have sent it; `reason` says by which check."""

    level: ClassVar[int] = logging.WARNING
    is_limited: ClassVar[bool] = True
    reason: str


@dataclass(frozen=True, slots=True)
class SessionNotBegun(SessionEvent):
    """A new session was written to, but its cookie could not be sent: nothing was stored."""

    level: ClassVar[int] = logging.WARNING
    is_limited: ClassVar[bool] = True
    reason: str


@dataclass(frozen=True, slots=True)
class Purged(SessionEvent):
    """A purge has run to its end and deleted this many expired sessions."""

    count: int


@dataclass(frozen=True, slots=True)
class PurgeFailed(SessionEvent):
    """A purge stopped with an error; the next one tries again."""

    level: ClassVar[int] = logging.ERROR
    cause: str


@dataclass(frozen=True, slots=True)
class WatchFailed(SessionEvent):
    """The store could not say which of the watched sessions live; it is asked again soon."""

    level: ClassVar[int] = logging.ERROR
    is_limited: ClassVar[bool] = True
    cause: str


Hook: TypeAlias = Callable[[SessionEvent], None]
"""Called with each event, on the event loop: it must not block. What it raises is only logged."""


def emit(hooks: Iterable[Hook], event: SessionEvent) -> None:
    """Tell every hook of *event*."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:
            logger.exception("a hook failed on %s", type(event).__name__)
