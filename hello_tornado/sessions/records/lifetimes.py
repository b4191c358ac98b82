"""How long a session lives: the idle and the absolute timeout, and the moments they are made of.

A moment is a whole number of microseconds since 1970, UTC: every store holds it without loss and
compares it alike. People get aware datetimes.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from hello_tornado.sessions import options
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.records.record import Listed

MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The touch interval is at most this part of the idle timeout. A session that is read at least once
# in three quarters of its idle timeout never runs out.
TOUCHES: Final = 4
# How far the clocks of two servers may differ, microseconds.
SKEW: Final = timedelta(minutes=5) // MICROSECOND


def system_clock() -> int:
    """The moment now."""
    return time.time_ns() // 1_000


def moment_of(when: datetime) -> int:
    """The moment of an aware datetime."""
    return (when - EPOCH) // MICROSECOND


def datetime_of(moment: int) -> datetime:
    """The aware UTC datetime of a moment."""
    return EPOCH + moment * MICROSECOND


def as_timedelta(duration: timedelta | float) -> timedelta:
    """A duration that may be a number of seconds."""
    return duration if isinstance(duration, timedelta) else timedelta(seconds=duration)


class OwnLifetime(NamedTuple):
    """What one session says of its own life; None where it is as for all sessions.

    `remember` is what `login()` was told, `idle_timeout` a number of microseconds, and `ends_at`
    the moment at which the session ends, used or not.
    """

    remember: bool | None = None
    idle_timeout: int | None = None
    ends_at: int | None = None


AS_USUAL: Final = OwnLifetime()


@dataclass(frozen=True, slots=True, init=False)
class Lifetimes:
    """When a session ends: `idle` after it was last used, and `absolute` after it began.

    The earlier of the two holds. A login with `remember=True` makes the session end `remembered`
    after the login instead, used or not. Each is a timedelta or a number of seconds, at most 36500
    days. `idle` or `absolute` may be None (no such limit), not both: a session that never ends
    could never be purged. The cookie follows these times.
    """

    idle: timedelta | None
    absolute: timedelta | None
    remembered: timedelta
    _idle: int | None = field(repr=False, compare=False)  # in microseconds, as the next two
    _absolute: int | None = field(repr=False, compare=False)
    _remembered: int = field(repr=False, compare=False)

    @options.checked(
        idle=options.optional(options.duration()),
        absolute=options.optional(options.duration()),
        remembered=options.duration(),
    )
    def __init__(
        self,
        *,
        idle: timedelta | float | None = timedelta(hours=1),
        absolute: timedelta | float | None = timedelta(hours=24),
        remembered: timedelta | float = timedelta(days=30),
    ) -> None:
        if idle is None and absolute is None:
            raise ConfigurationError("Lifetimes need an idle timeout, an absolute one, or both")
        given = {"idle": idle, "absolute": absolute, "remembered": remembered}
        for name, value in given.items():
            exact = None if value is None else as_timedelta(value)
            object.__setattr__(self, name, exact)
            object.__setattr__(self, f"_{name}", None if exact is None else exact // MICROSECOND)

    def expires_at(self, created_at: int, accessed_at: int, own: OwnLifetime = AS_USUAL) -> int:
        """The moment from which a session is dead: `now >= expires_at` means expired."""
        absolute = self._remembered if own.remember else self._absolute
        idle = self._idle_of(own)
        ends = [] if own.ends_at is None else [own.ends_at]
        if idle is not None:
            ends.append(accessed_at + idle)
        if absolute is not None:
            ends.append(created_at + absolute)
        return min(ends)

    def touch_after(self, interval: int, own: OwnLifetime = AS_USUAL) -> int:
        """How long after its last use a session that is only read counts as used again.

        That is *interval*, or a quarter of the idle timeout if that is shorter. Microseconds.
        """
        idle = self._idle_of(own)
        return interval if idle is None else min(interval, idle // TOUCHES)

    def is_living(self, record: Listed, now: int) -> bool:
        """Whether the session in *record* lives.

        A session that began in the future is refused, because it would outlive its absolute
        timeout. Without that timeout, its last use is checked instead. The session is not deleted:
        this clock may be the wrong one, as on a computer that has just been switched on. Once the
        clock has reached its beginning, the session lives as long as any other.
        """
        began = record.accessed_at if self._absolute is None else record.created_at
        return record.expires_at > now and began <= now + SKEW

    def _idle_of(self, own: OwnLifetime) -> int | None:
        if own.idle_timeout is not None:
            return own.idle_timeout
        return None if own.remember or own.ends_at is not None else self._idle
