"""What the server runs on: an event loop, and a garbage collector out of its requests' way."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final, NamedTuple, TypeVar

GC_THRESHOLD: Final = 10_000  # Python 3.11 looks after 700, which a dozen requests in flight hold

T = TypeVar("T")


class EventLoop(NamedTuple):
    """What makes event loops, and the name by which it is reported."""

    name: str
    new: Callable[[], asyncio.AbstractEventLoop]

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """The outcome of *main*, on a loop of its own."""
        with asyncio.Runner(loop_factory=self.new) as runner:
            return runner.run(main)


def fastest_loop() -> EventLoop:
    """Uvloop where it is installed, else asyncio's own."""
    if find_spec("uvloop") is None:
        return EventLoop("asyncio", asyncio.new_event_loop)
    import uvloop  # noqa: PLC0415 - only who has installed it gets here

    return EventLoop(f"uvloop {version('uvloop')}", uvloop.new_event_loop)


def spare_requests() -> None:
    """Keep the garbage collector from what is loaded, and from looking at each dozen requests.

    To be called once everything is loaded, which is then never looked through again.
    """
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
