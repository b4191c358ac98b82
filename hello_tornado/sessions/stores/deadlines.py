"""Time limits of store calls, and the circuit breaker for a store that does not answer."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Final, TypeAlias

from hello_tornado.sessions.errors import ConfigurationError, StoreTimeout, StoreUnavailable

LIMIT_SECONDS: Final = 3.0
CLOCKS_MAY_DIFFER_SECONDS: Final = 5.0
PROBE_EVERY_SECONDS: Final = 1.0
PROBE_SHARE: Final = 0.5  # of the limit, so that a store that is back is noticed within 2 seconds
STOOD_STILL_SECONDS: Final = 0.5  # more than the usual delay of a busy event loop

_wait: ContextVar["Wait | None"] = ContextVar("wait", default=None)


def deadline_of_call(limit: float) -> float:
    """Return when a call that begins now must have ended, by the clock of the running loop.

    That is *limit* seconds after the beginning of the present `Wait`, or from now without one.
    """
    wait = _wait.get()
    if wait is None or wait.since is None:
        return limit + asyncio.get_running_loop().time()
    return limit + wait.since


class Wait:
    """A time limit that several calls share, such as those of one request.

    Each `with wait:` continues the count of the last one. Time outside these blocks does not count.
    `since` is None outside them, also for a task that was started in a block and continues after
    it.

    Args:
        waited: The number of seconds that count already (0).

    """

    __slots__ = ("_began", "_clock", "_token", "since", "waited")

    def __init__(self, waited: float = 0.0) -> None:
        self.waited = waited
        self.since: float | None = None
        self._clock = asyncio.get_running_loop().time

    def __enter__(self) -> None:
        began, outer = self._clock() - self.waited, _wait.get()
        if outer is not None and outer.since is not None:
            began = min(began, outer.since)
        self.since = self._began = began
        self._token: Token[Wait | None] = _wait.set(self)

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        _wait.reset(self._token)
        self.waited, self.since = self._clock() - self._began, None


def wait_anew() -> None:
    """Ignore the `Wait` of the caller that started this task, because it works for many callers."""
    _wait.set(None)


def did_not_answer() -> StoreTimeout:
    """Return the error for a call that took too long."""
    return StoreTimeout("the session store failed: it did not answer in time")


def limit_of_store(store: object) -> float:
    """Return the time limit of each call to a store in seconds: its `limit_seconds`, or 3."""
    return float(getattr(store, "limit_seconds", LIMIT_SECONDS))


def limit_of(text: str) -> float:
    """Return the URL option `timeout` in seconds; `ConfigurationError` if it is not 0 to 3600."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ConfigurationError(
            "the option timeout of a store's URL must be a number of seconds, such as timeout=3"
        )
    return seconds


@dataclass(frozen=True, slots=True)
class Closed:
    """The store answers or was not called yet: all calls are allowed."""


@dataclass(frozen=True, slots=True)
class Open:
    """The store did not answer in time: calls fail at once, except one probe per second."""

    next_probe_at: float


Phase: TypeAlias = Closed | Open


class Breaker:
    """A circuit breaker: while a store does not answer, only one call per second is allowed.

    The caller of such a probe waits for half of the time limit, but the answer counts if it arrives
    within the full limit. Any answer closes the circuit again, even an error.

    Args:
        limit: The time limit of a call, in seconds.
        clock: Returns the present time in seconds.

    """

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self.phase: Phase = Closed()

    def admit(self) -> float:
        """Return the limit of a call in seconds; raise `StoreUnavailable` if it is not allowed."""
        match self.phase:
            case Closed():
                return self._limit
            case Open(next_probe_at):
                now = self._clock()
                if now < next_probe_at:
                    raise StoreUnavailable(
                        "the session store failed: it did not answer in time a moment ago; "
                        "one call per second checks whether it answers again"
                    )
                self.phase = Open(now + PROBE_EVERY_SECONDS)
                return self._limit * PROBE_SHARE

    def answered(self) -> None:
        """Note that a call was answered."""
        if not isinstance(self.phase, Closed):
            self.phase = Closed()

    def timed_out(self, waited: float, late: float = 0.0) -> None:
        """Note that a call was not answered within *waited* seconds.

        A short wait does not open the circuit. Nor does a wait that is noticed *late* (in seconds),
        because then this process was not running (SIGSTOP, a laptop that slept, a blocked event
        loop).
        """
        if late >= STOOD_STILL_SECONDS:
            return
        if isinstance(self.phase, Closed) and waited >= self._limit * PROBE_SHARE:
            self.phase = Open(self._clock() + PROBE_EVERY_SECONDS)
