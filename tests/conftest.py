"""What all tests share: a clock that stands still until it is told to move, and databases."""

import os
from collections import Counter

import pytest
from fakes import Clock
from hypothesis import settings

# How busy the machine is proves nothing: pytest-timeout ends what hangs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
os.environ.setdefault("ASYNC_TEST_TIMEOUT", "30")

pytest_plugins = ["services", "every_store", "browsing"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each reason why tests were skipped, and not one for each of their places."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
    )
    if reasons:
        terminalreporter.section("skipped")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:>5}  {reason}")


@pytest.fixture
def clock() -> Clock:
    return Clock()
