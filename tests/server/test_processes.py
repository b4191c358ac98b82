"""Several server processes on one port: all serve, a dead one is replaced, one signal stops all."""

import os
import re
import signal
import socket
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from running import Server, received, run_command, running_server

COUNT = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path, "--port", "0", "--processes", str(COUNT)) as server:
        yield server


def workers(server: Server) -> set[int]:
    """The processes that answer: each says its number with every request in the log."""
    return {int(number) for number in re.findall(r"\[(\d+)\] INFO tornado.access", server.text)}


def let_all_answer(server: Server, count: int = COUNT) -> set[int]:
    """Ask until so many processes have answered."""
    before = len(server.text)
    while True:
        assert server.request("GET", "/user/login")[0] == 200
        found = re.findall(r"\[(\d+)\] INFO tornado.access", server.text[before:])
        if len(set(found)) == count:
            return {int(number) for number in found}


def test_all_processes_serve_the_same_sessions_on_one_port(server: Server) -> None:
    assert f"({COUNT} processes, Ctrl+C stops)" in server.text
    assert server.text.count("listening") == 1
    cookie = server.log_in("Ada")
    with ThreadPoolExecutor(12) as pool:
        posts = [
            pool.submit(server.request, "POST", "/api/session/n/increment", "", cookie)
            for _ in range(200)
        ]
    assert {post.result()[0] for post in posts} == {200}
    assert '"n": 200' in server.request("GET", "/api/session", cookie=cookie)[2]
    assert len(workers(server)) == COUNT


def test_a_process_that_dies_is_replaced_and_its_sessions_live_on(server: Server) -> None:
    cookie = server.log_in("Ada")
    before = let_all_answer(server)
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    server.wait_for(rf"process {victim} ended \(-9\); starting another one")
    after = let_all_answer(server)
    assert len(after & before) == COUNT - 1
    for _ in range(2 * COUNT):
        assert "Hello Ada" in server.request("GET", "/", cookie=cookie)[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_stops_all_and_requests_in_flight_end(
    server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    running = let_all_answer(server)
    with closing(sqlite3.connect(tmp_path / "var/sessions.db")) as connection:
        connection.execute("BEGIN IMMEDIATE")  # the logins wait in their save
        logins = [server.send("POST", "/user/login", {"username": "Ada"}) for _ in range(9)]
        let_all_answer(server)
        let_all_answer(server)
        server.process.send_signal(number)
        server.wait_for("stopping: finishing the requests in flight")
        connection.rollback()
    assert {received(login)[0] for login in logins} == {303}
    assert server.process.wait(20) == 0
    assert not any(is_alive(pid) for pid in running)


def test_processes_do_not_outlive_the_one_that_started_them(server: Server) -> None:
    running = let_all_answer(server)
    server.process.kill()
    server.process.wait(20)
    while any(is_alive(pid) for pid in running):
        pass


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def failed(directory: Path, *arguments: str, code: int = 2, **environment: str) -> str:
    done = run_command(directory, "serve", *arguments, **environment)
    assert done.returncode == code, done
    assert done.stderr.count("error: ") == 1, "once, and not once for each process"
    return done.stderr


def test_a_memory_store_cannot_be_shared(tmp_path: Path) -> None:
    text = failed(tmp_path, "--processes", "2", HELLO_TORNADO_STORE__URL="memory://")
    assert "each would have only its own sessions" in text
    assert "sqlite:///" in text


def test_what_keeps_a_server_from_starting_is_said_once(tmp_path: Path) -> None:
    settings = {"HELLO_TORNADO_STORE__URL": "redis://127.0.0.1:1"}
    assert "start the store" in failed(
        tmp_path, "--port", "0", "--processes", "3", code=3, **settings
    )


def test_a_port_that_others_share_is_taken(server: Server, tmp_path: Path) -> None:
    for count in ("1", "2"):
        text = failed(tmp_path, "--port", str(server.port), "--processes", count)
        assert "already in use" in text


def test_a_port_that_another_program_has_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "already in use" in failed(tmp_path, "--port", port, "--processes", "2")


@pytest.mark.parametrize("count", ["0", "-1", "many", "1000"])
def test_a_number_of_processes_that_cannot_be_is_named(tmp_path: Path, count: str) -> None:
    done = run_command(tmp_path, "serve", HELLO_TORNADO_SERVER__PROCESSES=count)
    assert done.returncode == 2
    assert "HELLO_TORNADO_SERVER__PROCESSES" in done.stderr
