"""The programs in `examples/programs`: each runs as it is, and does what it is for."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from running import Server, clean_environment, run_command, wait_until_it_listens
from services import free_port, missing
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

PROGRAMS = Path(__file__).parent.parent.parent / "examples/programs"
LONGEST = {  # lines that are not empty
    "any_handler": 27,
    "cart": 15,
    "counter": 12,
    "everywhere": 16,
    "flash": 16,
    "job": 20,
    "login": 23,
    "remember": 16,
    "socket": 16,
    "test_home": 14,
    "two_processes": 19,
}


def program(name: str, **replaced: str) -> str:
    text = (PROGRAMS / f"{name}.py").read_text(encoding="utf-8")
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return text


class Visitor(Server):
    """Somebody who keeps the session's cookie."""

    cookie = ""

    def ask(self, method: str, path: str, **form: str) -> tuple[int, str]:
        status, headers, body = self.request(method, path, form or None, self.cookie)
        if "Set-Cookie" in headers:
            self.cookie = headers["Set-Cookie"].partition(";")[0]
            self.given = headers["Set-Cookie"]
        return status, body


@contextmanager
def started(directory: Path, name: str, **replaced: str) -> Iterator[Visitor]:
    port = free_port()
    code = program(name, **{"8888": str(port)} | replaced)
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=directory, env=clean_environment(), start_new_session=True
    ) as process:
        try:
            wait_until_it_listens(port)
            yield Visitor(process, port)
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # with the processes that it has forked


def test_they_are_short() -> None:
    lengths = {
        path.stem: len([line for line in path.read_text().splitlines() if line.strip()])
        for path in PROGRAMS.glob("*.py")
    }
    assert lengths.keys() == LONGEST.keys()
    assert all(lengths[name] <= LONGEST[name] for name in LONGEST), lengths


def test_counter(tmp_path: Path) -> None:
    with started(tmp_path, "counter") as visitor:
        assert visitor.ask("GET", "/") == (200, "Visit 1")
        assert visitor.ask("GET", "/") == (200, "Visit 2")


def test_login(tmp_path: Path) -> None:
    with started(tmp_path, "login") as visitor:
        assert visitor.ask("GET", "/")[0] == 302
        assert visitor.ask("POST", "/login", user="ada")[0] == 302
        assert visitor.ask("GET", "/") == (200, "Hello ada")
        before = visitor.cookie
        assert visitor.ask("POST", "/logout", nothing="")[0] == 302
        visitor.cookie = before
        assert visitor.ask("GET", "/")[0] == 302


def test_cart(tmp_path: Path) -> None:
    with started(tmp_path, "cart") as visitor:
        for item in ("apple", "pear", "apple"):
            visitor.ask("POST", "/", item=item)
        assert visitor.ask("GET", "/") == (200, '{"apple": 2, "pear": 1}')


def test_flash(tmp_path: Path) -> None:
    with started(tmp_path, "flash") as visitor:
        visitor.ask("POST", "/", nothing="")
        assert visitor.ask("GET", "/") == (200, "<p class=success>Saved</p>")
        assert visitor.ask("GET", "/") == (200, "")


def test_remember(tmp_path: Path) -> None:
    with started(tmp_path, "remember") as visitor:
        assert visitor.ask("POST", "/login", user="ada", remember="1") == (200, "30 days, 0:00:00")
        assert "Max-Age=25" in visitor.given
        assert visitor.ask("POST", "/login", user="ada") == (200, "1:00:00")
        assert "Max-Age" not in visitor.given


def test_everywhere(tmp_path: Path) -> None:
    with started(tmp_path, "everywhere") as visitor:
        visitor.ask("POST", "/login", user="ada")
        visitor.cookie = ""  # on another device
        visitor.ask("POST", "/login", user="ada")
        assert visitor.ask("POST", "/everywhere", nothing="")[0] == 302
        assert visitor.cookie.endswith("=")
        done = run_command(
            tmp_path, "sessions", "list", "--store", "sqlite:///sessions.db", "--json"
        )
        assert json.loads(done.stdout)["sessions"] == []


def test_job(tmp_path: Path) -> None:
    with started(tmp_path, "job", **{"0.3": "0"}) as visitor:
        assert visitor.ask("GET", "/") == (200, "none yet")
        visitor.ask("POST", "/", nothing="")
        reports = (visitor.ask("GET", "/")[1] for _ in range(1000))
        assert next(report for report in reports if report != "in the making") == "42 pages"


def test_socket(tmp_path: Path) -> None:
    async def talk(visitor: Visitor) -> list[Any]:
        url = f"ws://127.0.0.1:{visitor.port}/ws"
        connection = await websocket_connect(HTTPRequest(url, headers={"Cookie": visitor.cookie}))
        heard = []
        for _ in range(2):
            await connection.write_message("hello")
            heard.append(await connection.read_message())
        connection.close()
        return heard

    with started(tmp_path, "socket") as visitor:
        visitor.ask("POST", "/login", user="ada")
        assert asyncio.run(talk(visitor)) == ["ada 1", "ada 2"]


def test_any_handler(tmp_path: Path) -> None:
    """And the page about it has this program, and one that reads what it has stored."""
    page = (PROGRAMS.parent.parent / "docs/any-handler.md").read_text(encoding="utf-8")
    first, second = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert first == program("any_handler")

    async def told(visitor: Visitor) -> list[Any]:
        url = f"ws://127.0.0.1:{visitor.port}/ws"
        connection = await websocket_connect(HTTPRequest(url, headers={"Cookie": visitor.cookie}))
        heard = [await connection.read_message()]
        await asyncio.to_thread(run_command, tmp_path, "sessions", "revoke", "--all", *there)
        heard += [await connection.read_message(), connection.close_code]
        connection.close()
        return heard

    there = ("--store", "sqlite:///sessions.db")
    with started(tmp_path, "any_handler") as visitor:
        assert visitor.ask("GET", "/") == (200, "Visit 1")
        assert visitor.ask("GET", "/") == (200, "Visit 2")
        header = "session=the text of a Cookie header"
        for cookie, printed in ((header, b"None\n"), (visitor.cookie, b"2\n")):
            command = [sys.executable, "-c", second.replace(header, cookie)]
            env = clean_environment()
            assert subprocess.check_output(command, cwd=tmp_path, env=env) == printed
        assert asyncio.run(told(visitor)) == ["You were here 2 times", None, 4401]


def test_test_home(tmp_path: Path) -> None:
    (tmp_path / "test_home.py").write_text(program("test_home"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_home.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert "1 passed" in done.stdout, done.stdout


def test_two_processes(tmp_path: Path, postgresql_url: str) -> None:
    """In a database that has no table yet."""
    address = {"postgresql://postgres@127.0.0.1/H": postgresql_url}
    with started(tmp_path, "two_processes", **address) as visitor:
        for number in range(1, 9):
            assert visitor.ask("GET", "/") == (200, f"Visit {number}")


def test_pyright_accepts_them() -> None:
    pyright = PROGRAMS.parent.parent / "node_modules/.bin/pyright"
    if not pyright.exists():
        missing("pyright is missing: npm install --no-save --no-package-lock pyright@1")
    command = [pyright, "--pythonpath", sys.executable, PROGRAMS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_mypy_accepts_them(tmp_path: Path) -> None:
    """Handlers without annotations, as they are: what they call is checked all the same."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--check-untyped-defs"),
            *("--allow-untyped-defs", "--allow-untyped-calls", f"--cache-dir={tmp_path}"),
            *sorted(map(str, PROGRAMS.glob("*.py"))),
        ],
        cwd=PROGRAMS.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", sorted(LONGEST))
def test_none_imports_what_is_not_public(name: str) -> None:
    lines = [line for line in program(name).splitlines() if "hello_tornado" in line]
    for line in lines:
        if line.startswith("from hello_tornado"):
            assert line.split()[1] in {"hello_tornado.sessions", "hello_tornado.sessions.testing"}
