"""How long a session lives: the idle and the absolute timeout, and the moments they are made of.

A moment is a whole number of microseconds since 1970, UTC: every store holds it without loss and
compares it alike. People get aware datetimes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """When a session ends: `idle` after it was last used, and `absolute` after it began.

    Either may be None (no such limit), not both: a session that never ends could never be purged.
    A session's own `max_age` takes the place of `idle`; `absolute` holds all the same.
    """

    idle: timedelta | None = timedelta(hours=1)
    absolute: timedelta | None = timedelta(hours=24)

    def __post_init__(self) -> None:
        given = [limit for limit in (self.idle, self.absolute) if limit is not None]
        if not given:
            raise ConfigurationError("lifetimes need an idle timeout, an absolute one, or both")
        if min(given) <= timedelta(0):
            raise ConfigurationError("the idle and the absolute timeout must be longer than zero")

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
