"""Logs events, with a rate limit for those that any client can cause."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields
from enum import Enum
from typing import Final

from hello_tornado.sessions.events import Purged, SessionEvent
from hello_tornado.sessions.records.lifetimes import system_clock

INTERVAL: Final = 60_000_000  # microseconds
NO_NEWS: Final = Purged(0)  # not logged: most purges, every few minutes, delete nothing
REMEMBERED: Final = 10_000  # different events; each takes about half a kilobyte

logger = logging.getLogger("hello_tornado.sessions")


class EventLog:
    """A hook that logs events with the logger `hello_tornado.sessions`, at the event's level.

    An event with `is_limited`, which any client can cause, is logged at most once a minute. The
    next line for it says how many were left out. The last 10,000 such events are remembered, in
    constant time. For formatters, the attribute `event` of a log record has the fields of the
    event.

    Args:
        clock: Returns the present moment in microseconds since 1970 (the system's clock).

    """

    def __init__(self, clock: Callable[[], int] = system_clock) -> None:
        self._clock = clock
        # When each was last logged, and how many were left out since; the oldest comes first.
        self._written: OrderedDict[SessionEvent, tuple[int, int]] = OrderedDict()

    def __call__(self, event: SessionEvent) -> None:
        """Log *event*, unless it is limited and an equal one was logged within a minute."""
        if event == NO_NEWS or not logger.isEnabledFor(event.level):
            return
        facts = {field.name: getattr(event, field.name) for field in fields(event)}
        if event.is_limited:
            now = self._clock()
            written_at, left_out = self._written.get(event, (now - INTERVAL, 0))
            if 0 <= now - written_at < INTERVAL:  # negative if the clock was ahead; then log it
                self._written[event] = written_at, left_out + 1
                return
            self._written[event] = now, 0
            self._written.move_to_end(event)
            if len(self._written) > REMEMBERED:
                self._written.popitem(last=False)
            if left_out:
                facts["left_out"] = left_out
        text = " ".join(f"{name}={_plain(value)!a}" for name, value in facts.items())
        name = type(event).__name__
        logger.log(event.level, "%s %s", name, text, extra={"event": {"event": name} | facts})


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value
