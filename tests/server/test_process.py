"""The server as a process: it starts with nothing, says how it was set up, and stops politely."""

import base64
import http.client
import json
import re
import select
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import pytest
from running import (
    Server,
    clean_environment,
    received,
    run_command,
    running,
    running_server,
)
from services import free_port

# The server, sent a signal the very moment that it has told where it listens.
IMPATIENT = """
import os
from hello_tornado.cli import main as cli
from hello_tornado.cli.terminal import Screen

class Impatient(Screen):
    def print(self, line):
        super().print(line)
        if "listening" in line:
            os.kill(os.getpid(), {number})

cli.notes = Impatient("stdout")
cli.main()
"""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Nobody else writes to the database meanwhile."""
    path = directory / "var/sessions.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def test_it_needs_nothing_and_says_how_it_was_set_up(tmp_path: Path) -> None:
    environment = {"HELLO_TORNADO_SERVER__PORT": "0", "HELLO_TORNADO_COOKIE__SAMESITE": "strict"}
    with running([sys.executable, "-m", "hello_tornado"], tmp_path, **environment) as server:
        assert server.request("GET", "/")[0] == 200
        assert f"listening {server.url}/" in server.text
        assert "SQLite sqlite:///var/sessions.db  schema 0003" in server.text
        assert "1 hour idle, 1 day at most; purge every 5 minutes" in server.text
        assert (
            "session  HttpOnly  SameSite=Strict  Secure=auto  as long as the session" in server.text
        )
        sources = server.wait_for(r"settings  (.*)\n")[1]
        assert set(sources.split(", ")) == set(environment)
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in (tmp_path / "var", *(tmp_path / "var").iterdir())
        }
    assert modes.pop("var") == 0o700
    assert set(modes) == {"cookie_secret", "sessions.db", "sessions.db-wal", "sessions.db-shm"}
    assert set(modes.values()) == {0o600}


def test_a_login_survives_a_restart(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        cookie = server.log_in("Ada")
        secret = (tmp_path / "var/cookie_secret").read_text()
    with running_server(tmp_path) as server:
        assert "Hello Ada" in server.request("GET", "/", cookie=cookie)[2]
    assert (tmp_path / "var/cookie_secret").read_text() == secret


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        cookies = [server.log_in(name) for name in ("Ada", "Bob", "Eve")]
        assert server.request("POST", "/api/session/n/increment", cookie=cookies[0])[0] == 200
        server.request("POST", "/user/logout", cookie=cookies[2])
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    with running_server(tmp_path) as server:
        assert '"n": 1' in server.request("GET", "/api/session", cookie=cookies[0])[2]
        assert "Hello Bob" in server.request("GET", "/", cookie=cookies[1])[2]
        assert "Hello Eve" not in server.request("GET", "/", cookie=cookies[2])[2]


def test_a_kill_in_the_middle_of_writing_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, ThreadPoolExecutor() as pool:
        cookie, in_the_middle = server.log_in("Ada"), Event()

        def write() -> int:
            answered = 0
            try:
                while server.request("POST", "/api/session/n/increment", cookie=cookie)[0] == 200:
                    answered += 1
                    if answered == 20:
                        in_the_middle.set()
            except (OSError, http.client.HTTPException):
                pass  # the kill
            return answered

        writers = [pool.submit(write) for _ in range(4)]
        assert in_the_middle.wait(20)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
        answered = sum(writer.result() for writer in writers)
    with running_server(tmp_path) as server:
        stored = json.loads(server.request("GET", "/api/session", cookie=cookie)[2])["data"]
    assert stored["username"] == "Ada"
    assert answered <= stored["n"] <= answered + len(writers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_request_in_flight_end(tmp_path: Path, number: signal.Signals) -> None:
    with running_server(tmp_path) as server:
        with locked(tmp_path):  # the login waits in its save
            login = server.send("POST", "/user/login", {"username": "Ada"})
            _let_begin_what_was_sent(server)
            server.process.send_signal(number)
            while not _is_refused(server):
                pass
            assert server.process.poll() is None
        status, headers, _ = received(login)
        assert (status, headers["Location"]) == (303, "/")
        assert server.process.wait(20) == 0
    cookie = headers["Set-Cookie"].partition(";")[0]
    with running_server(tmp_path) as server:
        assert "Hello Ada" in server.request("GET", "/", cookie=cookie)[2]


def _is_refused(server: Server) -> bool:
    """Whether the server takes no connection; one that is reset came just before the end."""
    try:
        server.request("GET", "/healthz")
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        pass
    return False


def _let_begin_what_was_sent(server: Server) -> None:
    """Two answers of a server with one thread: what was sent before them has been begun."""
    for _ in range(2):
        assert server.request("GET", "/healthz")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_heeded_as_soon_as_the_address_is_printed(
    tmp_path: Path, number: signal.Signals
) -> None:
    program = IMPATIENT.format(number=int(number))
    ended = subprocess.run(
        [sys.executable, "-c", program, "serve", "--port", "0"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "listening" in ended.stdout
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_server_even_when_a_browser_keeps_its_connection(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running_server(tmp_path) as server:
        with closing(server.send("GET", "/")) as kept:
            kept.getresponse().read()
            assert server.stop(number) == 0
        server.wait_for("stopping")
        assert "Traceback" not in server.text


@pytest.mark.slow
def test_a_locked_database_is_a_503_and_the_server_recovers(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        waits = []
        with locked(tmp_path):
            login = server.send("POST", "/user/login", {"username": "Ada"})
            while not select.select([login.sock], [], [], 0)[0]:
                begun = time.monotonic()
                assert server.request("GET", "/healthz")[0] == 200
                waits.append(time.monotonic() - begun)
            status, headers, body = received(login)
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "Set-Cookie" not in headers
        assert "Nothing was changed" in body
        assert len(waits) > 50, "the event loop turned all the while"
        assert max(waits) < 1
        freed = time.monotonic()  # the store is asked again once a second
        while received(server.send("POST", "/user/login", {"username": "Ada"}))[0] == 503:
            assert time.monotonic() < freed + 2
        assert "Hello Ada" in server.request("GET", "/", cookie=server.log_in("Ada"))[2]


def test_who_is_logged_in_can_read_while_the_database_is_locked(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        cookie = server.log_in("Ada")
        with locked(tmp_path):
            assert "Hello Ada" in server.request("GET", "/", cookie=cookie)[2]


def test_the_command_line_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    shown = run_command(tmp_path, "config", "show").stdout
    assert re.search(r"^server\.port +8080 +default$", shown, re.MULTILINE)
    port = free_port()
    (tmp_path / "settings.yaml").write_text(f"server:\n  port: {port}\nlifetimes:\n  idle: 2h\n")
    with running_server(tmp_path, "--settings", "settings.yaml") as server:
        assert server.port == port
        assert "settings  settings.yaml\n" in server.text
        assert "2 hours idle" in server.text
        with running_server(tmp_path, "--port", "0") as other:
            assert other.port != port
            assert "2 hours idle" in other.text
            sources = other.wait_for(r"settings  (.*)\n")[1]
            assert set(sources.split(", ")) == {"settings.yaml", "command line"}


def test_a_port_that_is_taken_is_named_with_the_cure(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        port = str(server.port)
        second = run_command(tmp_path, "serve", "--port", port)
    assert second.returncode == 2
    assert f"error: 127.0.0.1:{port} is already in use" in second.stderr
    assert "cure:  set server.port, or run: python -m hello_tornado serve --port 0" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_typo_in_the_settings_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("server:\n  prot: 80\n")
    wrong = run_command(tmp_path)
    assert wrong.returncode == 2
    assert 'settings.yaml:2:3: server.prot is unknown. Did you mean "port"?' in wrong.stderr


def test_nothing_secret_is_ever_logged(tmp_path: Path) -> None:
    with running_server(tmp_path, before=("--debug",)) as server:
        cookie = server.log_in("Ada")
        server.request("PUT", "/api/session/password", '"hush hush"', cookie=cookie)
        server.request("GET", "/", cookie=cookie[:-1] + "x")
        server.request("GET", "/api/session", cookie=f"{cookie}; {cookie}x")
        server.request("POST", "/user/logout", cookie=cookie)
        server.request("GET", "/", cookie=cookie)
    signed = cookie.partition("=")[2]
    encoded, signature = signed.split("|")[4].partition(":")[2], signed.rpartition("|")[2]
    session_id = base64.b64decode(encoded).decode()
    secret = (tmp_path / "var/cookie_secret").read_text().strip()
    assert "DEBUG" in server.text
    for word in (signed, encoded, signature[:-1], session_id, secret, "hush hush"):
        assert word not in server.text
