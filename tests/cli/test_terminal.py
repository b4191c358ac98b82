"""Where commands print: a terminal obeys nothing of it, and the other end may be closed or full."""

import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import clean_environment, run_command
from services import free_port

from hello_tornado.cli.terminal import printable

# Red, a title, the cursor home, a bell, right-to-left override, and a byte that is no UTF-8.
EVIL = "\x1b[31m\x1b]0;x\x07\x1b[H\u202e"
EVIL_NAME = os.fsdecode(b"\xff") + EVIL

COMMANDS = {
    "a command": ([EVIL], {}),
    "an option": (["--" + EVIL], {}),
    "a value of an option": (["sessions", "list", "--limit", EVIL], {}),
    "a choice": (["sessions", "list", "--older-than", EVIL], {}),
    "a handle": (["sessions", "show", EVIL], {}),
    "a user": (["users", "disable", EVIL], {}),
    "a revision": (["db", "upgrade", EVIL], {}),
    "a file of settings": (["config", "show", "--settings", EVIL_NAME], {}),
    "a file for the secret": (["secret", "--write", "/proc/" + EVIL_NAME], {}),
    "a new file": (["config", "init", "/proc/" + EVIL_NAME], {}),
    "a setting": (["config", "show"], {"HELLO_TORNADO_SERVER__HOST": EVIL}),
    "a wrong setting": (["config", "show"], {"HELLO_TORNADO_LOGIN__MODE": EVIL}),
    "an unknown setting": (["config", "show"], {"HELLO_TORNADO_" + EVIL: "1"}),
    "a SQLite file": (["db", "current"], {"HELLO_TORNADO_STORE__URL": f"sqlite:///proc/{EVIL}"}),
    "an option of a URL": (
        ["db", "current"],
        {"HELLO_TORNADO_STORE__URL": f"postgresql://127.0.0.1:1/x?{EVIL}=1"},
    ),
    "a database": (
        ["sessions", "list"],
        {"HELLO_TORNADO_STORE__URL": f"redis://127.0.0.1:1/{EVIL}"},
    ),
    "a scheme": (["sessions", "list"], {"HELLO_TORNADO_STORE__URL": f"{EVIL}://x"}),
    "a host": (["serve", "--port", "0"], {"HELLO_TORNADO_SERVER__HOST": EVIL}),
}


def is_obeyed(one: str) -> bool:
    return not (one.isprintable() or one == "\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_that_is_printed_is_obeyed(tmp_path: Path, name: str) -> None:
    arguments, environment = COMMANDS[name]
    done = run_command(tmp_path, *arguments, **environment)
    assert done.stdout + done.stderr
    assert not [one for one in done.stdout + done.stderr if is_obeyed(one)]
    assert "Traceback" not in done.stderr


def test_a_file_of_settings_may_say_anything(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(f'"{json.dumps(EVIL)[1:-1]}": 1\nserver: {{port: x}}\n')
    done = run_command(tmp_path, "config", "check")
    assert done.returncode == 2
    assert not [one for one in done.stderr if is_obeyed(one)]


def test_what_is_no_utf_8_in_a_name_is_shown_as_a_byte(tmp_path: Path) -> None:
    done = run_command(tmp_path, "config", "show", "--settings", os.fsdecode(b"\xff.yaml"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: \\xff.yaml: cannot be read: No such file or directory\n")


@given(st.text(st.characters()))
def test_what_is_printable_stays_and_nothing_else(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    assert shown == text or not text.isprintable()


def run_into(
    output: BinaryIO, directory: Path, *command: str
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "hello_tornado", *command],
        cwd=directory,
        env=clean_environment(),
        stdout=output,
        stderr=subprocess.PIPE,
        check=False,
    )


READING = {
    "settings": ["config", "show"],
    "JSON": ["config", "show", "--json"],
    "a table": ["sessions", "stats"],
}


@pytest.mark.parametrize("command", READING.values(), ids=READING)
def test_who_closes_a_pipe_has_read_enough(tmp_path: Path, command: list[str]) -> None:
    run_command(tmp_path, "db", "upgrade")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = run_into(pipe, tmp_path, *command)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("command", [["config", "show"], ["db", "upgrade"]])
def test_a_full_disk_is_told_as_such(tmp_path: Path, command: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run_into(full, tmp_path, *command)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        b"error: the output cannot be written: No space left on device",
        b"cure:  free space at its destination, or redirect it to another one",
    ]


def test_a_server_serves_though_nobody_can_read_what_it_says(tmp_path: Path) -> None:
    port = str(free_port())
    with Path("/dev/full").open("wb") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "hello_tornado", "serve", "--port", port],
            cwd=tmp_path,
            env=clean_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
        )
    while process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=20)
        with closing(connection), suppress(ConnectionRefusedError):
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert process.communicate()[1] == b""


def test_ascii_is_enough(tmp_path: Path) -> None:
    done = run_command(
        tmp_path, "config", "show", PYTHONIOENCODING="ascii", HELLO_TORNADO_SERVER__HOST="Zürich"
    )
    assert done.returncode == 0
    assert r"Z\xfcrich" in done.stdout


def test_only_the_command_of_its_own_name_completes_in_a_shell(tmp_path: Path) -> None:
    """`complete … python` would take over every other program in Python."""
    assert "--install-completion" not in run_command(tmp_path, "--help").stdout
    done = subprocess.run(
        [Path(sys.executable).parent / "hello-tornado", "--show-completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
        # Or it would look which shell has started the tests, and there may be none.
        env=clean_environment() | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert "hello-tornado" in done.stdout.splitlines()[-1]


def test_a_wrong_command_is_told_in_two_lines(tmp_path: Path) -> None:
    done = run_command(tmp_path, "sessions", "list", "--limt", "3")
    assert (done.returncode, done.stdout) == (2, "")
    cause, cure = done.stderr.splitlines()
    assert cause.startswith("error: No such option: --limt")
    assert cure == "cure:  see: python -m hello_tornado sessions list --help"


@pytest.mark.parametrize(
    ("command", "code"), [("--version >&-", 0), ("nonsense 2>&-", 2), ("config show >&- 2>&-", 0)]
)
def test_who_has_closed_the_streams_hears_nothing(tmp_path: Path, command: str, code: int) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m hello_tornado {command}"],
        cwd=tmp_path,
        env=clean_environment(),
        check=False,
    )
    assert done.returncode == code
