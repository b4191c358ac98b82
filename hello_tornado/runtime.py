"""Chooses the event loop, and keeps the garbage collector from slowing requests down."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, TypeVar

GC_THRESHOLD: Final = 10_000  # Python 3.11's is 700 objects; a dozen requests hold as many

T = TypeVar("T")


class EventLoop(NamedTuple):
    """A factory of event loops, and the name under which it is reported."""

    name: str
    new: Callable[[], asyncio.AbstractEventLoop]

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run *main* on a new loop and return its result."""
        with asyncio.Runner(loop_factory=self.new) as runner:
            return runner.run(main)


def fastest_loop() -> EventLoop:
    """Return the factory of uvloop if it is installed, else asyncio's."""
    if find_spec("uvloop") is None:
        return EventLoop("asyncio", asyncio.new_event_loop)
    import uvloop  # noqa: PLC0415 - an optional package

    return EventLoop(f"uvloop {version('uvloop')}", uvloop.new_event_loop)


def spare_requests() -> None:
    """Make the garbage collector run less often, and skip the objects that exist already.

    Call it once, after everything has been loaded.
    """
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
