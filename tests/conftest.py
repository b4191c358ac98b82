"""What all tests share: a clock that stands still until it is told to move, and databases."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.testing import NOW

pytest_plugins = ["services", "every_store", "browsing"]


@dataclass
class Clock:
    """The moment now, moved by hand."""

    now: int = NOW

    def __call__(self) -> int:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration) // MICROSECOND


@pytest.fixture
def clock() -> Clock:
    return Clock()
