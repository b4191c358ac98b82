"""A clock that a test moves by hand."""

from datetime import UTC, datetime, timedelta

from hello_tornado.sessions.records.lifetimes import (
    MICROSECOND,
    datetime_of,
    moment_of,
    system_clock,
)


class Clock:
    """Stands still until the test moves it: `SessionManager("memory://", clock=clock)`.

    - *start*: the datetime at which it stands, with a time zone; by default the present. A cookie
      that was signed before 1970 or far in the future is not accepted.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._now = system_clock() if start is None else moment_of(start)

    def __call__(self) -> int:
        """The moment, in microseconds since 1970, as `SessionManager` asks for it."""
        return self._now

    @property
    def now(self) -> datetime:
        """The moment, in UTC."""
        return datetime_of(self._now).astimezone(UTC)

    def advance(self, duration: timedelta | None = None, /, **parts: float) -> None:
        """Move on by a timedelta, or by its parts: `advance(minutes=30)`.

        `ValueError` for a duration that leads back.
        """
        given = (duration or timedelta(0)) + timedelta(**parts)
        if given < timedelta(0):
            raise ValueError("a clock does not go back: make another one")
        self._now += given // MICROSECOND
