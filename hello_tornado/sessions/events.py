"""Events about sessions, for logs, metrics and audit trails.

An event contains the handle of a session, never its id or key.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeAlias

logger = logging.getLogger("hello_tornado.sessions")


class EndedReason(StrEnum):
    """Why a session has ended, or why one of its ids is no longer valid.

    - `EXPIRED`: its idle or absolute timeout has passed.
    - `LOGGED_OUT`: one of its own requests has ended it.
    - `REVOKED`: it was ended from another device, by an administrator or by a session limit.
    - `RENEWED`: the session continues under a new id.
    - `ENDED`: the reason is unknown.
    """

    EXPIRED = "expired"
    LOGGED_OUT = "logged_out"
    REVOKED = "revoked"
    RENEWED = "renewed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """The base class of all events.

    - `level`: the level at which it is logged.
    - `is_limited`: a client can cause it with each request, so it is logged at most once a minute.
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
    """A session has a new id, and the old one is invalid. A login also renews the id."""

    handle: str
    user_id: str | None


@dataclass(frozen=True, slots=True)
class LoggedIn(SessionEvent):
    """A user has logged in to a session."""

    handle: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Expired(SessionEvent):
    """A request had the id of a session that has expired but was not purged yet."""

    is_limited: ClassVar[bool] = True
    handle: str
    user_id: str | None


@dataclass(frozen=True, slots=True)
class Ended(SessionEvent):
    """A session was ended by a logout or a revocation."""

    handle: str
    user_id: str | None
    reason: EndedReason


@dataclass(frozen=True, slots=True)
class TombstoneFailed(SessionEvent):
    """Sessions were ended, but the reason could not be stored, so their users will not see it."""

    level: ClassVar[int] = logging.WARNING
    cause: str


@dataclass(frozen=True, slots=True)
class LimitFailed(SessionEvent):
    """After a login the user's oldest sessions could not be ended (`max_sessions_per_user`)."""

    level: ClassVar[int] = logging.WARNING
    is_limited: ClassVar[bool] = True
    handle: str
    user_id: str
    cause: str


@dataclass(frozen=True, slots=True)
class CommitDropped(SessionEvent):
    """The changes of a request were dropped, because its session had ended or changed its user.

    Also emitted if the id of the request was replaced or ended less than a minute ago.
    """

    level: ClassVar[int] = logging.WARNING
    handle: str


@dataclass(frozen=True, slots=True)
class RecordUnreadable(SessionEvent):
    """A stored session could not be read. Requests with its id get a 503, and the record stays."""

    level: ClassVar[int] = logging.WARNING
    is_limited: ClassVar[bool] = True
    handle: str
    cause: str


@dataclass(frozen=True, slots=True)
class TouchFailed(SessionEvent):
    """The expiry of a session could not be extended. The request continued, as no data was lost."""

    level: ClassVar[int] = logging.WARNING
    is_limited: ClassVar[bool] = True
    handle: str
    cause: str


@dataclass(frozen=True, slots=True)
class LeaseNotReleased(SessionEvent):
    """A request could not release its lease of a session; the lease will expire."""

    level: ClassVar[int] = logging.WARNING
    handle: str
    cause: str


@dataclass(frozen=True, slots=True)
class CookieRejected(SessionEvent):
    """A session cookie was invalid; `reason` says why, without the value of the cookie."""

    level: ClassVar[int] = logging.WARNING
    is_limited: ClassVar[bool] = True
    reason: str


@dataclass(frozen=True, slots=True)
class RequestForbidden(SessionEvent):
    """A request was refused because another site may have sent it; `reason` is the check."""

    level: ClassVar[int] = logging.WARNING
    is_limited: ClassVar[bool] = True
    reason: str


@dataclass(frozen=True, slots=True)
class SessionNotBegun(SessionEvent):
    """A new session was not stored, because its cookie could not be sent."""

    level: ClassVar[int] = logging.WARNING
    is_limited: ClassVar[bool] = True
    reason: str


@dataclass(frozen=True, slots=True)
class Purged(SessionEvent):
    """A purge is complete; `count` expired sessions were deleted."""

    count: int


@dataclass(frozen=True, slots=True)
class PurgeFailed(SessionEvent):
    """A purge stopped with an error; the next one will try again."""

    level: ClassVar[int] = logging.ERROR
    cause: str


@dataclass(frozen=True, slots=True)
class WatchFailed(SessionEvent):
    """The store could not be asked about watched sessions; it is asked again soon."""

    level: ClassVar[int] = logging.ERROR
    is_limited: ClassVar[bool] = True
    cause: str


Hook: TypeAlias = Callable[[SessionEvent], None]
"""A function to call with each event. It runs on the event loop and must not block.

Its errors are only logged.
"""


def emit(hooks: Iterable[Hook], event: SessionEvent) -> None:
    """Call all hooks with *event*."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:
            logger.exception("a hook failed on %s", type(event).__name__)
