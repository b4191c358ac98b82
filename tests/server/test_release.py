"""The release check asks for what only the people who publish can say."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_it_names_what_is_missing_in_the_metadata() -> None:
    done = subprocess.run(
        [sys.executable, ".ci/release.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in ("Source", "Issues", "Security"):
        assert (f"project.urls.{name}" in done.stdout) == (name not in project.get("urls", {}))
    assert (done.returncode == 0) == (done.stdout == "")
