"""The event loop that the server runs on: uvloop where it is installed, else asyncio's own."""

import asyncio
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class EventLoop(NamedTuple):
    """What makes event loops, and the name by which it is reported."""

    name: str
    new: Callable[[], asyncio.AbstractEventLoop]

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """The outcome of *main*, on a loop of its own."""
        with asyncio.Runner(loop_factory=self.new) as runner:
            return runner.run(main)


def installed() -> EventLoop:
    """The fastest there is."""
    if find_spec("uvloop") is None:
        return EventLoop("asyncio", asyncio.new_event_loop)
    import uvloop  # noqa: PLC0415 - only who has installed it gets here

    return EventLoop(f"uvloop {version('uvloop')}", uvloop.new_event_loop)
