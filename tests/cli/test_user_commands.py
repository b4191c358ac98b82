"""`users add|list|disable|…`, with a real server beside them, for sessions anywhere."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import (
    PASSWORD,
    PASSWORD_MODE,
    Server,
    clean_environment,
    run_command,
    running_server,
    user_command,
)

from hello_tornado.database import migrate

OTHER = "a tin of blue paint and a ladder"


@pytest.fixture(params=["sqlite", "memory", "postgresql", "mariadb", "redis"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Where the sessions are; the accounts are beside them if that is a database."""
    if request.param == "sqlite":
        return PASSWORD_MODE
    accounts = {"HELLO_TORNADO_LOGIN__ACCOUNTS_URL": f"sqlite:///{tmp_path}/accounts.db"}
    if request.param == "memory":
        return PASSWORD_MODE | accounts | {"HELLO_TORNADO_STORE__URL": "memory://"}
    url: str = request.getfixturevalue(f"{request.param}_url")
    if request.param == "redis":
        return PASSWORD_MODE | accounts | {"HELLO_TORNADO_STORE__URL": url}
    migrate.upgrade(url, accounts=True)
    return PASSWORD_MODE | {"HELLO_TORNADO_STORE__URL": url}


def enter(server: Server, password: str = PASSWORD) -> tuple[int, str]:
    status, headers, _ = server.request(
        "POST", "/user/login", {"username": "Ada", "password": password}
    )
    return status, headers.get("Set-Cookie", "").partition(";")[0]


def is_logged_in(server: Server, cookie: str) -> bool:
    return "Log out" in server.request("GET", "/", cookie=cookie)[2]


def wait_until_signed_out(server: Server, cookie: str) -> None:
    """At once, but for sessions in the server's memory: then with its next look."""
    while is_logged_in(server, cookie):
        pass  # the test's own time limit ends this


@pytest.mark.slow
def test_a_user_from_the_first_day_to_the_last(tmp_path: Path, environment: dict[str, str]) -> None:
    def run(*arguments: str, password: str = PASSWORD) -> str:
        done = user_command(tmp_path, environment, *arguments, password=password)
        assert done.returncode == 0, done
        return done.stdout

    assert run("add", "Ada", "--password-stdin") == "Ada can log in\n"
    with running_server(tmp_path, **environment) as server:
        status, cookie = enter(server)
        assert status == 303
        assert is_logged_in(server, cookie)
        assert "Ada is disabled" in run("disable", "ADA ")
        wait_until_signed_out(server, cookie)
        assert enter(server)[0] == 403
        listed = json.loads(run("list", "--json"))["users"]
        assert [(one["name"], one["user_id"], one["disabled"]) for one in listed] == [
            ("Ada", "ada", True)
        ]
        assert run("enable", "Ada") == "Ada can log in\n"
        status, cookie = enter(server)
        assert status == 303
        assert "another password" in run("set-password", "Ada", "--password-stdin", password=OTHER)
        wait_until_signed_out(server, cookie)
        assert enter(server)[0] == 403
        assert enter(server, OTHER)[0] == 303
        for secret in (PASSWORD, OTHER, "argon2"):
            assert secret not in server.text


def test_mistakes_have_a_cause_and_a_cure(tmp_path: Path) -> None:
    def refused(
        *arguments: str, password: str = PASSWORD, code: int = 2, **environment: str
    ) -> str:
        done = user_command(tmp_path, PASSWORD_MODE | environment, *arguments, password=password)
        assert done.returncode == code, done
        cause, cure = done.stderr.splitlines()
        assert cause.startswith("error: ")
        assert cure.startswith("cure:  ")
        assert password not in done.stderr
        return cause

    assert user_command(tmp_path, PASSWORD_MODE, "add", "Ada", "--password-stdin").returncode == 0
    assert "already" in refused("add", " ada", "--password-stdin")
    assert "too easy" in refused("add", "Bob", "--password-stdin", password="qwertyuiop")
    assert "no user Bob" in refused("disable", "Bob", code=4)
    assert "invisible" in refused("add", "\u202eevil", "--password-stdin")
    assert "login.mode is open" in refused("list", HELLO_TORNADO_LOGIN__MODE="open")
    assert "need a SQL database" in refused("list", HELLO_TORNADO_STORE__URL="memory://")


@pytest.mark.slow
def test_a_user_is_exported_and_deleted_with_their_sessions(tmp_path: Path) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        done = user_command(tmp_path, PASSWORD_MODE, *arguments)
        assert done.returncode == code, done
        return done.stdout

    run("add", "Ada", "--password-stdin")
    with running_server(tmp_path, **PASSWORD_MODE) as server:
        cookie = enter(server)[1]
        exported = json.loads(run("export", "ada"))
        assert exported["account"]["name"] == "Ada"
        (session,) = exported["sessions"]
        assert session["data"] == {"username": "Ada"}
        assert session["device"]["address"] == "127.0.0.1"
        assert "argon2" not in json.dumps(exported)
        assert "1 session ended" in run("delete", "ADA")
        assert "Hello Ada" not in server.request("GET", "/", cookie=cookie)[2]
        assert enter(server)[0] == 403
    for command in ("export", "delete", "disable"):
        run(command, "Ada", code=4)


@pytest.fixture
def interrupts_are_heard() -> Iterator[None]:
    """A command inherits what this process does at Ctrl+C; in the background that is nothing."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("interrupts_are_heard")
def test_who_interrupts_the_question_for_a_password_gets_the_code_of_shells(
    tmp_path: Path,
) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hello_tornado", "users", "add", "Ada"],
        cwd=tmp_path,
        env=clean_environment() | PASSWORD_MODE,
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    shown = b""
    while b"Password: " not in shown:
        shown += os.read(parent, 1024)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    os.close(parent)


def test_a_password_is_typed_twice_and_never_shown(tmp_path: Path) -> None:
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "hello_tornado", "users", "add", "Ada"]
    environment = clean_environment() | PASSWORD_MODE
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    shown = b""
    for question in (b"Password: ", b"confirmation: "):
        while question not in shown:
            shown += os.read(parent, 1024)
        os.write(parent, PASSWORD.encode() + b"\n")
    while b"can log in" not in shown:
        shown += os.read(parent, 1024)
    assert process.wait() == 0
    os.close(parent)
    assert PASSWORD.encode() not in shown


def test_accounts_without_a_database_stop_the_start(tmp_path: Path) -> None:
    for command in (("serve", "--port", "0"), ("config", "check")):
        done = run_command(
            tmp_path, *command, **PASSWORD_MODE, HELLO_TORNADO_STORE__URL="memory://"
        )
        assert done.returncode == 2
        assert "accounts need a SQL database" in done.stderr
        assert "login.accounts_url" in done.stderr


@pytest.mark.slow
def test_the_open_login_is_for_this_machine_unless_it_is_asked_for(tmp_path: Path) -> None:
    everywhere: Any = {"HELLO_TORNADO_SERVER__HOST": "0.0.0.0"}
    for command in (("serve", "--port", "0"), ("config", "check")):
        done = run_command(tmp_path, *command, **everywhere)
        assert done.returncode == 2
        assert "anybody can log in under any name" in done.stderr
    for host in ("::", "192.0.2.7", ""):
        done = run_command(tmp_path, "config", "check", HELLO_TORNADO_SERVER__HOST=host)
        assert "anybody can log in" in done.stderr, host
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        done = run_command(tmp_path, "config", "check", HELLO_TORNADO_SERVER__HOST=host)
        assert done.returncode == 0, host
    for mode in ("open", "password"):
        meant = everywhere | {"HELLO_TORNADO_LOGIN__MODE": mode}
        assert run_command(tmp_path, "config", "check", **meant).returncode == 0
