"""On a terminal a bar shows that a long command is at work; what is piped has no trace of one."""

import asyncio
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import clean_environment

from hello_tornado.database import migrate
from hello_tornado.sessions import open_store
from hello_tornado.sessions.records.record import Swap
from hello_tornado.sessions.testing import HOUR, make_record

PASSWORD = b"correct horse battery staple\n"
BARS = {
    "purge": "purging",
    "db upgrade": "upgrading",
    "db downgrade base": "downgrading",
    "db check": "checking",
    "sessions list": "looking",
    "sessions stats": "counting",
    "sessions export --user ada": "exporting",
    "sessions revoke --all": "revoking",
    "sessions revoke --user ada": "revoking",
    "users export ada": "exporting",
    "users disable ada": "ending sessions",
    "users set-password ada --password-stdin": "ending sessions",
    "users delete ada": "ending sessions",
}
COUNTED = {"purge", "sessions stats", "sessions revoke --all"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A SQLite file with a user, and sessions of theirs that live and that have expired."""
    path = tmp_path_factory.mktemp("database") / "sessions.db"
    url, now = f"sqlite:///{path}", time.time_ns() // 1000
    migrate.upgrade(url)
    records = [
        make_record(user_id="ada", created_at=now, accessed_at=now, expires_at=now + ends)
        for ends in (HOUR, -HOUR)
        for _ in range(200)
    ]

    async def save() -> None:
        store = open_store(url)
        await store.save([Swap(None, record) for record in records])
        await store.aclose()

    asyncio.run(save())
    done = run(path.parent, url, "users", "add", "ada", "--password-stdin", errors=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    return path.read_bytes()


def run(
    directory: Path, url: str, *command: str, errors: int
) -> subprocess.CompletedProcess[bytes]:
    settings = {
        "HELLO_TORNADO_LOGIN__MODE": "password",
        "HELLO_TORNADO_STORE__URL": url,
        "TERM": "xterm",
        "COLUMNS": "80",
    }
    return subprocess.run(
        [sys.executable, "-m", "hello_tornado", *command],
        cwd=directory,
        env=clean_environment() | settings,
        input=PASSWORD,
        stdout=subprocess.PIPE,
        stderr=errors,
        check=False,
    )


@pytest.mark.parametrize("command", BARS)
@pytest.mark.slow
def test_people_see_a_bar_while_a_command_is_at_work(
    tmp_path: Path, database: bytes, command: str
) -> None:
    (tmp_path / "sessions.db").write_bytes(database)
    ours, theirs = pty.openpty()
    url = f"sqlite:///{tmp_path}/sessions.db"
    done = run(tmp_path, url, *command.split(), errors=theirs)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.returncode == 0, shown
    assert BARS[command] in shown
    assert ("100%" in shown) or command not in COUNTED
    assert "\x1b" not in done.stdout.decode()


@pytest.mark.parametrize("command", BARS)
@pytest.mark.slow
def test_what_is_piped_has_no_bar(tmp_path: Path, database: bytes, command: str) -> None:
    (tmp_path / "sessions.db").write_bytes(database)
    url = f"sqlite:///{tmp_path}/sessions.db"
    done = run(tmp_path, url, *command.split(), errors=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    told = done.stderr.decode()
    assert told == "" or (command, told.startswith("there are more")) == ("sessions list", True)
    if "export" in command:
        assert len(json.loads(done.stdout)["sessions"]) == 200
