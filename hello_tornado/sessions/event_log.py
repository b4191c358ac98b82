"""Events as lines in the log: each of them once, and what strangers can cause only now and then."""

import logging
from collections.abc import Callable
from dataclasses import fields
from typing import Final

from hello_tornado.sessions.events import SessionEvent

INTERVAL: Final = 60_000_000  # microseconds
MEMORY: Final = 60 * INTERVAL

logger = logging.getLogger("hello_tornado.sessions")


class EventLog:
    """A hook that writes to the logger `hello_tornado.sessions`, at the event's own level.

    An event that strangers can cause at will (`is_limited`) is written at most once a minute for
    each of its reasons; the next line says how many were left out. The event itself is the record's
    attribute `event`, for formatters that want its fields.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._written: dict[SessionEvent, tuple[int, int]] = {}

    def __call__(self, event: SessionEvent) -> None:
        """Write *event*, unless one like it was just written."""
        if not logger.isEnabledFor(event.level):
            return
        facts = {field.name: getattr(event, field.name) for field in fields(event)}
        if event.is_limited:
            now = self._clock()
            written_at, left_out = self._written.get(event, (now - INTERVAL, 0))
            if now - written_at < INTERVAL:
                self._written[event] = written_at, left_out + 1
                return
            self._forget_before(now - MEMORY)
            self._written[event] = now, 0
            if left_out:
                facts["left_out"] = left_out
        text = " ".join(f"{name}={value!a}" for name, value in facts.items())
        name = type(event).__name__
        logger.log(event.level, "%s %s", name, text, extra={"event": {"event": name} | facts})

    def _forget_before(self, moment: int) -> None:
        self._written = {event: at for event, at in self._written.items() if at[0] > moment}
