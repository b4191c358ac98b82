"""The release check asks for what only the people who publish can say, and the release calls it."""

import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
COMPLETE = {
    "authors": [{"name": "somebody"}],
    "urls": {
        "Source": "https://code.example/",
        "Issues": "https://code.example/issues",
        "Security": "mailto:security@code.example",
    },
}


@pytest.fixture
def check() -> dict[str, Any]:
    """The functions of the check."""
    return runpy.run_path(str(ROOT / ".ci/release.py"))


def test_it_names_what_is_missing_here() -> None:
    done = subprocess.run(
        [sys.executable, ".ci/release.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in ("Source", "Issues", "Security"):
        assert (f"project.urls.{name}" in done.stdout) == (name not in project.get("urls", {}))
    assert (done.returncode == 0) == (done.stdout == "")


def test_what_is_complete_can_be_released(check: dict[str, Any]) -> None:
    assert check["missing"](COMPLETE) == []
    assert check["unwritten"]("1.2.3", "# Changelog\n\n## 1.2.3 - 2030-01-31\n\nWhat\n") == []


def test_each_thing_is_asked_for(check: dict[str, Any]) -> None:
    for name in COMPLETE["urls"]:
        urls = {key: value for key, value in dict(COMPLETE["urls"]).items() if key != name}
        (line,) = check["missing"](COMPLETE | {"urls": urls})
        assert line.startswith(f"project.urls.{name}: ")
    (line,) = check["missing"](COMPLETE | {"authors": []})
    assert line.startswith("project.authors: ")
    (line,) = check["unwritten"]("1.2.3", "## Unreleased\n\n## 1.2.30 - 2030-01-31\n")
    assert "## 1.2.3 - " in line


def test_a_release_begins_with_it_and_contributing_says_so() -> None:
    run = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert run.index(".ci/release.py") < run.index("pip install")
    assert "`.ci/run release`" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
