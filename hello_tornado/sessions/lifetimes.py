"""How long a session lives: the idle and the absolute timeout, and the moments they are made of.

A moment is a whole number of microseconds since 1970, UTC: every store holds it without loss and
compares it alike. People get aware datetimes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from hello_tornado.sessions import options
from hello_tornado.sessions.errors import ConfigurationError

MaxAge: TypeAlias = timedelta | datetime | Literal["browser"]
"""How long one session lives, as it says itself: so long after its last use, or until a moment, or
as usual, with a cookie that ends with the browser."""

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment_of(when: datetime) -> int:
    """The moment of an aware datetime."""
    return (when - EPOCH) // MICROSECOND


def datetime_of(moment: int) -> datetime:
    """The aware UTC datetime of a moment."""
    return EPOCH + moment * MICROSECOND


def as_timedelta(duration: timedelta | float) -> timedelta:
    """A duration that may be a number of seconds."""
    return duration if isinstance(duration, timedelta) else timedelta(seconds=duration)


@dataclass(frozen=True, slots=True, init=False)
class Lifetimes:
    """When a session ends: `idle` after it was last used, and `absolute` after it began.

    Each is a timedelta or a number of seconds, at most 36500 days. Either may be None (no such
    limit), not both: a session that never ends could never be purged. A session's own `max_age`
    takes the place of `idle`; `absolute` holds all the same.
    """

    idle: timedelta | None
    absolute: timedelta | None

    @options.checked(
        idle=options.optional(options.duration()), absolute=options.optional(options.duration())
    )
    def __init__(
        self,
        *,
        idle: timedelta | float | None = timedelta(hours=1),
        absolute: timedelta | float | None = timedelta(hours=24),
    ) -> None:
        if idle is None and absolute is None:
            raise ConfigurationError("Lifetimes need an idle timeout, an absolute one, or both")
        object.__setattr__(self, "idle", idle)
        object.__setattr__(self, "absolute", absolute)

    def expires_at(self, created_at: int, accessed_at: int, max_age: MaxAge | None = None) -> int:
        """The moment from which a session is dead: `now >= expires_at` means expired."""
        ends = []
        match max_age:
            case timedelta():
                ends.append(accessed_at + max_age // MICROSECOND)
            case datetime():
                ends.append(moment_of(max_age))
            case _ if self.idle is not None:
                ends.append(accessed_at + self.idle // MICROSECOND)
        if self.absolute is not None:
            ends.append(created_at + self.absolute // MICROSECOND)
        return min(ends)
