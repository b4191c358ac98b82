"""What all tests share: a clock that stands still until it is told to move, and databases."""

import os
from pathlib import Path

import pytest
from fakes import Clock
from hypothesis import settings

# How busy the machine is proves nothing: pytest-timeout ends what hangs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
os.environ.setdefault("ASYNC_TEST_TIMEOUT", "30")

pytest_plugins = ["services", "every_store", "browsing", "light"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs in an empty directory."""
    monkeypatch.chdir(tmp_path)
