"""Events as lines in the log: each of them once, and what strangers can cause only now and then."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields
from enum import Enum
from typing import Final

from hello_tornado.sessions.events import Purged, SessionEvent
from hello_tornado.sessions.records.lifetimes import system_clock

INTERVAL: Final = 60_000_000  # microseconds
NO_NEWS: Final = Purged(0)  # it is so every few minutes
REMEMBERED: Final = 10_000  # different events; each takes about half a kilobyte

logger = logging.getLogger("hello_tornado.sessions")


class EventLog:
    """A hook that writes to the logger `hello_tornado.sessions`, at the event's own level.

    An event that strangers can cause at will (`is_limited`) is written at most once a minute; when
    it comes again later, its line says how many were left out. Of such events the 10,000 that were
    written last are remembered, at a cost that does not depend on their number. The event itself is
    the record's attribute `event`, for formatters that want its fields.
    """

    def __init__(self, clock: Callable[[], int] = system_clock) -> None:
        self._clock = clock
        # When each was written, and how many were left out since; the longest ago comes first.
        self._written: OrderedDict[SessionEvent, tuple[int, int]] = OrderedDict()

    def __call__(self, event: SessionEvent) -> None:
        """Write *event*, unless one like it was just written."""
        if event == NO_NEWS or not logger.isEnabledFor(event.level):
            return
        facts = {field.name: getattr(event, field.name) for field in fields(event)}
        if event.is_limited:
            now = self._clock()
            written_at, left_out = self._written.get(event, (now - INTERVAL, 0))
            if 0 <= now - written_at < INTERVAL:  # a clock that was ahead is no reason to be silent
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
