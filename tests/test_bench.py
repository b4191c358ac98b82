"""The benchmarks work and print; how fast anything is, no test asks."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from services import missing

from bench.instructions import ROUTES, dearer

ROOT = Path(__file__).parent.parent


@pytest.fixture
def wrk() -> None:
    """Debian's load generator."""
    if shutil.which("wrk") is None:
        missing("wrk is missing: install Debian's package wrk")


def printed(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.mark.usefixtures("wrk")
def test_a_short_benchmark_prints_writes_and_draws(tmp_path: Path) -> None:
    figures, picture = tmp_path / "figures.json", tmp_path / "picture.svg"
    short = ("--rounds", "1", "--seconds", "1", "--connections", "8")
    table = printed("bench", "sqlite://", *short, "--json", figures, "--svg", picture)
    rows = json.loads(figures.read_text())
    routes = ["bare", "read", "write", "login", "anonymous", "plain-read", "plain-write"]
    assert [row["route"] for row in rows] == ["bare", *routes]
    assert all(row["requests_per_second"] > 0 and row["p50"] <= row["p99"] for row in rows)
    trips = {row["route"]: row["round_trips"] for row in rows[1:]}
    assert trips["bare"] == trips["anonymous"] == 0
    assert 0 < trips["read"] <= 1
    assert 0 < trips["write"] <= 2
    assert all(f"SQLite       {route}" in table for route in routes)
    bars = ET.fromstring(picture.read_text()).iter("{http://www.w3.org/2000/svg}rect")
    assert len(list(bars)) == len(["read", "write", "login"])


@pytest.mark.usefixtures("wrk")
def test_several_processes_on_one_store() -> None:
    lines = printed("bench.processes", "--most", "2", "--rounds", "1").splitlines()
    assert [line.split()[:3] for line in lines] == [
        [route, count, "processes"] for route in ("read", "write") for count in "12"
    ]


def test_instructions_are_counted_and_compared() -> None:
    if shutil.which("valgrind") is None:
        missing("valgrind is missing: install Debian's package valgrind")
    lines = printed("bench.instructions", "--requests", "10").splitlines()
    assert [line.split()[:2] for line in lines] == [["memory", route] for route in ROUTES]
    costs = {line.split()[1]: int(line.split()[2].replace(",", "")) for line in lines}
    assert 0 < costs["bare"] < costs["anonymous"] < costs["read"] < costs["write"]
    assert dearer(costs, costs) == []
    assert dearer(costs | {"read": 2 * costs["read"]}, costs) == ["read"]


@pytest.mark.slow
def test_a_short_scale_curve_loses_nothing(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    short = ("--sizes", "1000", "3000", "--purge", "1000", "--seconds", "1")
    printed("bench.scale", *short, "--json", figures)
    sqlite, memory = json.loads(figures.read_text())
    for store in (sqlite, memory):
        assert [row["sessions"] for row in store["sizes"]] == [1000, 3000]
        assert store["purge"]["lost"] == 0
    assert sqlite["sizes"][1]["bytes"] > 300
