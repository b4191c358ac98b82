"""The code in the README does what the README says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from pages import HOME, blocks
from prometheus_client import CollectorRegistry
from running import clean_environment, running_server

from hello_tornado.sessions.metrics import SessionMetrics
from hello_tornado.sessions.testing import StoreContract


def test_the_first_program_is_the_one_that_is_tested() -> None:
    """`test_programs.py` starts it."""
    code, _ = blocks("python")
    assert code == (HOME / "examples/programs/counter.py").read_text(encoding="utf-8")


def test_the_two_lines_of_metrics() -> None:
    (code,) = blocks("python", "docs/metrics.md")  # in a process whose registry is its own
    program = f"url = 'memory://'\n{code}\nimport asyncio; print(asyncio.run(manager.length()))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout == b"0\n"
    page = (HOME / "docs" / "metrics.md").read_text(encoding="utf-8")
    registry = CollectorRegistry()
    SessionMetrics(registry)
    for family in registry.collect():
        assert f"`{family.name.removeprefix('hello_tornado_')}" in page


def test_the_commands_for_accounts(tmp_path: Path) -> None:
    (script,) = blocks("sh", "docs/accounts.md")
    printed = subprocess.run(
        ["bash", "-ec", script.replace("python -m", f"{sys.executable} -m")],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Ada can log in" in printed
    assert "Ada is disabled; 0 sessions ended" in printed


def test_the_curl_proof_that_logout_kills_the_cookie(tmp_path: Path) -> None:
    (script,) = (block for block in blocks("sh") if "curl" in block)
    with running_server(tmp_path) as server:
        printed = subprocess.run(
            ["bash", "-c", script.replace("http://127.0.0.1:8080", server.url)],
            cwd=tmp_path,
            env=clean_environment() | {"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            check=False,
        )
    promised = re.findall(r"# (Hello Ada|\d+)$", script, re.MULTILINE)
    assert promised == ["Hello Ada", "0"]
    assert printed.stdout.split("\n") == [*promised, ""]


def test_the_commands_are_the_ones_that_ci_runs() -> None:
    commands = [block.strip() for block in blocks("sh") if "pip install" in block]
    assert commands == [
        'pip install -e ".[server]" && python -m hello_tornado',
        'pip install -e ".[all,dev]" && python -m pytest',
    ]


def test_the_examples_of_testing_pass(tmp_path: Path) -> None:
    examples = blocks("python", "docs/testing.md")
    for number, code in enumerate(examples):
        (tmp_path / f"test_{number}.py").write_text(code, encoding="utf-8")
    for number, code in enumerate(examples):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"test_{number}.py"],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"{code.count('def test_')} passed" in done.stdout, done.stdout


def test_the_store_of_write_a_store_keeps_the_whole_contract(tmp_path: Path) -> None:
    code = "".join(blocks("python", "docs/write-a-store.md"))
    (tmp_path / "test_file_store.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_file_store.py"],
        cwd=tmp_path,
        env=clean_environment() | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    promises = sum(name.startswith("test_") for name in vars(StoreContract))
    assert f"{promises} passed" in done.stdout, done.stdout
