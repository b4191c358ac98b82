"""Fails before a release while something is missing that only the people who publish can say.

It stands in one place, `authors` and `[project.urls]` in pyproject.toml; README and SECURITY.md
refer to that. Nothing is made up in the meantime. `.ci/run release` calls it first.
"""

import re
import sys
import tomllib
from pathlib import Path

NEEDED = {
    "Source": "where the code is; the README's `pip install` takes it from there",
    "Issues": "where bugs are reported",
    "Security": "where people write about vulnerabilities (SECURITY.md)",
}


def missing(project: dict[str, object]) -> list[str]:
    """A line for each thing that is not there yet."""
    urls = project.get("urls", {})
    given = urls if isinstance(urls, dict) else {}
    lines = [
        f"project.urls.{name}: {why}"
        for name, why in NEEDED.items()
        if not str(given.get(name, "")).startswith(("https://", "mailto:"))
    ]
    if not project.get("authors"):
        lines.append("project.authors: who publishes this")
    return lines


def unwritten(version: str, changelog: str) -> list[str]:
    """A line when the changelog does not have this version."""
    if re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        return []
    return [f'CHANGELOG.md: a heading "## {version} - YYYY-MM-DD" over what is unreleased']


def main() -> int:
    """Print what is missing; returns the exit code."""
    root = Path(__file__).parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    package = (root / "hello_tornado/__init__.py").read_text(encoding="utf-8")
    version = package.split('__version__ = "')[1].split('"')[0]
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    lines = missing(project) + unwritten(version, changelog)
    for line in lines:
        print(f"missing: {line}")  # noqa: T201
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
