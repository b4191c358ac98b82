"""What all tests share: a clock that stands still until it is told to move, and databases."""

import os
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import settings

from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.testing import NOW

# How busy the machine is proves nothing: pytest-timeout ends what hangs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
os.environ.setdefault("ASYNC_TEST_TIMEOUT", "30")

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
