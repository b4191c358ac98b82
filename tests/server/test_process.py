"""The server as a process: it starts with nothing, says how it was set up, and stops politely."""

import base64
import signal
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from running import Server, run_command, running_server


def test_it_needs_nothing_and_says_how_it_was_set_up(tmp_path: Path) -> None:
    with running_server(tmp_path, HELLO_TORNADO_COOKIE__SAME_SITE="strict") as server:
        assert server.request("GET", "/")[0] == 200
        assert f"listening {server.url}/" in server.text
        assert "SQLite sqlite:///var/sessions.db  schema 0001" in server.text
        assert "1 hour idle, 1 day at most; purge every 5 minutes" in server.text
        assert "session  HttpOnly  SameSite=Strict  Secure=auto  Max-Age=3600" in server.text
        assert "settings  HELLO_TORNADO_COOKIE__SAME_SITE" in server.text
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_request_in_flight_end(tmp_path: Path, number: signal.Signals) -> None:
    with running_server(tmp_path) as server, ThreadPoolExecutor() as pool:
        database = sqlite3.connect(tmp_path / "var/sessions.db", isolation_level=None)
        database.execute("BEGIN IMMEDIATE")  # the login now waits in its save
        login = pool.submit(server.request, "POST", "/user/login", {"username": "Ada"})
        _let_begin_what_was_sent(server)
        server.process.send_signal(number)
        while "stopping" not in server.text:
            pass
        with pytest.raises(ConnectionRefusedError):
            server.request("GET", "/")
        database.execute("ROLLBACK")
        database.close()
        status, headers, _ = login.result()
        assert (status, headers["Location"]) == (303, "/")
        assert "Set-Cookie" in headers
        assert server.process.wait(20) == 0


def _let_begin_what_was_sent(server: Server) -> None:
    """Two answers of a server with one thread: what was sent before them has been begun."""
    for _ in range(2):
        assert server.request("GET", "/healthz")[0] == 200


def test_a_locked_database_is_a_503_and_the_server_recovers(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, ThreadPoolExecutor() as pool:
        database = sqlite3.connect(tmp_path / "var/sessions.db", isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        login = pool.submit(server.request, "POST", "/user/login", {"username": "Ada"})
        answered = 0
        while not login.done():
            assert server.request("GET", "/healthz")[0] == 200
            answered += 1
        assert answered > 50, "the event loop turned all the while"
        status, headers, body = login.result()
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "Set-Cookie" not in headers
        assert "Nothing was changed" in body
        database.execute("ROLLBACK")
        database.close()
        assert "Hello Ada" in server.request("GET", "/", cookie=server.log_in("Ada"))[2]


def test_a_port_that_is_taken_is_named_with_the_cure(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        port = str(server.port)
        second = run_command(tmp_path, "serve", "--port", port)
    assert second.returncode == 2
    assert f"error: 127.0.0.1:{port} is already in use" in second.stderr
    assert "cure:  use --port 0" in second.stderr
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
        server.request("POST", "/user/logout", cookie=cookie)
    signed = cookie.partition("=")[2]
    session_id = base64.b64decode(signed.split("|")[4].partition(":")[2]).decode()
    secret = (tmp_path / "var/cookie_secret").read_text().strip()
    assert "DEBUG" in server.text
    for word in (signed, session_id, signed.rpartition("|")[2], secret, "hush hush"):
        assert word not in server.text
