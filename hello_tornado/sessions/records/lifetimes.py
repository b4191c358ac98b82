"""The lifetime of a session: its idle and absolute timeouts, and the moments they are based on.

A moment is a whole number of microseconds since 1970, UTC. Every store keeps it exactly and
compares it in the same way. Public methods and properties use aware datetimes instead.
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
# The touch interval is at most the idle timeout divided by this. A session that is read at least
# once in three quarters of its idle timeout never expires for lack of use.
TOUCHES: Final = 4
# How far the clocks of two servers may differ, in microseconds.
SKEW: Final = timedelta(minutes=5) // MICROSECOND


def system_clock() -> int:
    """Return the present moment."""
    return time.time_ns() // 1_000


def moment_of(when: datetime) -> int:
    """Return the moment of an aware datetime."""
    return (when - EPOCH) // MICROSECOND


def datetime_of(moment: int) -> datetime:
    """Return the aware UTC datetime of a moment."""
    return EPOCH + moment * MICROSECOND


def as_timedelta(duration: timedelta | float) -> timedelta:
    """Return *duration* as a timedelta; a number means seconds."""
    return duration if isinstance(duration, timedelta) else timedelta(seconds=duration)


class OwnLifetime(NamedTuple):
    """The lifetime settings of a single session; None where the manager's `Lifetimes` apply.

    - `remember`: the argument of `login()`.
    - `idle_timeout`: in microseconds.
    - `ends_at`: the moment at which the session ends even if it is in use.
    """

    remember: bool | None = None
    idle_timeout: int | None = None
    ends_at: int | None = None


AS_USUAL: Final = OwnLifetime()


@dataclass(frozen=True, slots=True, init=False)
class Lifetimes:
    """The timeouts after which sessions expire. The Max-Age of their cookies depends on them.

    Each is a timedelta or a number of seconds, longer than zero and at most 36500 days. A session
    expires at its idle or its absolute timeout, whichever comes first.

    Args:
        idle: How long after its last use a session expires; None for no idle timeout (1 hour).
        absolute: How long after its beginning or its login a session expires, even if it is in
            use; None for no absolute timeout (24 hours).
        remembered: How long after a login with `remember=True` a session expires, even if it is in
            use. It replaces both other timeouts (30 days).

    Raises:
        ConfigurationError: A value is out of range, or both `idle` and `absolute` are None. A
            session that never expires could never be purged.

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
        """Return the moment from which a session is expired: `now >= expires_at`.

        Args:
            created_at: The moment at which it began or was logged in to.
            accessed_at: The moment at which it was last used.
            own: The session's own lifetime settings (none).

        """
        absolute = self._remembered if own.remember else self._absolute
        idle = self._idle_of(own)
        ends = [] if own.ends_at is None else [own.ends_at]
        if idle is not None:
            ends.append(accessed_at + idle)
        if absolute is not None:
            ends.append(created_at + absolute)
        return min(ends)

    def touch_after(self, interval: int, own: OwnLifetime = AS_USUAL) -> int:
        """Return how long after its last use a session that is only read is touched, in µs.

        That is *interval* (also in microseconds), or a quarter of the idle timeout if that is
        shorter.
        """
        idle = self._idle_of(own)
        return interval if idle is None else min(interval, idle // TOUCHES)

    def is_living(self, record: Listed, now: int) -> bool:
        """Return whether the session in *record* is valid at the moment *now*.

        A session that began more than five minutes in the future is refused, because it would
        outlive its absolute timeout. If there is no such timeout, its last use is checked instead.
        The session is not deleted, because this clock may be the wrong one, as on a computer that
        has just been switched on. It is valid again once the clock has reached its beginning.
        """
        began = record.accessed_at if self._absolute is None else record.created_at
        return record.expires_at > now and began <= now + SKEW

    def _idle_of(self, own: OwnLifetime) -> int | None:
        if own.idle_timeout is not None:
            return own.idle_timeout
        return None if own.remember or own.ends_at is not None else self._idle
