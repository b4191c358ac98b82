"""When a call to a store must have ended, and when a store that does not answer is asked again."""

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
PROBE_SHARE: Final = 0.5  # of the limit: so a store that is back is found within two seconds
STOOD_STILL_SECONDS: Final = 0.5  # by which a busy event loop is hardly late

_wait: ContextVar["Wait | None"] = ContextVar("wait", default=None)


def deadline_of_call(limit: float) -> float:
    """When a call that begins now must have ended, by the clock of the running loop.

    Within a `Wait` that is *limit* seconds after the wait began, else *limit* seconds from now.
    """
    wait = _wait.get()
    if wait is None or wait.since is None:
        return limit + asyncio.get_running_loop().time()
    return limit + wait.since


class Wait:
    """Several calls that share one limit: those of one request, for instance.

    Each `with wait:` goes on counting where the last one stopped. What the caller does in between
    does not count. *waited* is the number of seconds that have passed before. `since` is None in
    between, also for a task that was begun within the wait and goes on after it.
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
    """In a task that calls for many: whoever has started it does not set its time."""
    _wait.set(None)


def did_not_answer() -> StoreTimeout:
    """The error of a call whose time is over."""
    return StoreTimeout("the session store failed: it did not answer in time")


def limit_of_store(store: object) -> float:
    """The seconds that each call to a store has: its `limit_seconds`, if it says so."""
    return float(getattr(store, "limit_seconds", LIMIT_SECONDS))


def limit_of(text: str) -> float:
    """The seconds that the option `timeout` of a URL gives."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ConfigurationError(
            "the option timeout of a store's URL is a number of seconds, such as timeout=3"
        )
    return seconds


@dataclass(frozen=True, slots=True)
class Closed:
    """The store answers, or nothing is known: every call goes through."""


@dataclass(frozen=True, slots=True)
class Open:
    """The store did not answer in time: calls fail at once, but for a probe a second."""

    next_probe_at: float


Phase: TypeAlias = Closed | Open


class Breaker:
    """A circuit breaker: while a store does not answer, only one caller a second waits for it.

    A probe's caller waits for half of the *limit* of a call, but its answer may take all of it. Any
    answer closes the circuit again, also one that is an error. *clock* tells the moment in seconds.
    """

    def __init__(self, limit: float, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self.phase: Phase = Closed()

    def admit(self) -> float:
        """The limit of a call that begins now; `StoreUnavailable` if it should not begin."""
        match self.phase:
            case Closed():
                return self._limit
            case Open(next_probe_at):
                now = self._clock()
                if now < next_probe_at:
                    raise StoreUnavailable(
                        "the session store failed: it did not answer in time a moment ago, "
                        "and is asked again once a second"
                    )
                self.phase = Open(now + PROBE_EVERY_SECONDS)
                return self._limit * PROBE_SHARE

    def answered(self) -> None:
        """A call was answered."""
        if not isinstance(self.phase, Closed):
            self.phase = Closed()

    def timed_out(self, waited: float, late: float = 0.0) -> None:
        """A call has waited so many seconds in vain, and this was noticed so many seconds *late*.

        A short wait says little about the store. So does a long one if this process stood still
        meanwhile (SIGSTOP, a laptop that slept, a blocked event loop).
        """
        if late >= STOOD_STILL_SECONDS:
            return
        if isinstance(self.phase, Closed) and waited >= self._limit * PROBE_SHARE:
            self.phase = Open(self._clock() + PROBE_EVERY_SECONDS)
