"""A quick look on a machine without database servers; and what was skipped, there and elsewhere."""

import os
from collections import Counter

import pytest
from services import is_any_installed

AT_MOST = 4  # processes: more of them wait for each other


def is_light() -> bool:
    """Whether this is a quick look on a machine without database servers."""
    return os.environ.get("CI") != "true" and not is_any_installed()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Let each processor take its share of the light tests: they have no servers to share."""
    if hasattr(config, "workerinput") or config.option.collectonly:
        return  # a worker of pytest-xdist starts no workers of its own
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    is_free = config.pluginmanager.hasplugin("xdist") and config.option.numprocesses is None
    if is_whole and is_free and is_light():
        config.option.numprocesses = min(os.cpu_count() or 1, AT_MOST)
        config.option.dist = "loadfile"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if is_light():
        why = "it is slow, and no database server is installed: with CI=true it runs all the same"
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason=why))


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
