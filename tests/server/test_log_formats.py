"""Plain and JSON logs tell the same events, and each of them in one line."""

import http.client
import json
import re
import socket
from pathlib import Path
from typing import NamedTuple

import pytest
from running import Server, received, running_server
from socket_frames import HANDSHAKE

PLAIN = re.compile(r"\d{4}-\d\d-\d\d [\d:,]{12} \[\d+\] (\w+) ([\w.]+): (.*)")
# Handles, durations and the files' directory differ from run to run.
CHANGING = re.compile(r"\b[0-9a-f]{20}\b|[\d.]+ms\b")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
REFUSED: list[tuple[str, str, bytes, dict[str, str]]] = [
    ("GET", "/nowhere", b"", {}),
    ("GET", "/user/logout", b"", {}),
    ("GET", "/ws", b"", HANDSHAKE),
    ("POST", "/user/login", b"username=%ff", FORM),
    ("POST", "/user/login", b"abc", {"Content-Type": "multipart/form-data; boundary="}),
    ("POST", "/user/login", b"username=" + b"x" * 90_000, FORM),
    ("POST", "/user/login", b"username=", FORM),
    ("PUT", "/api/session/x", b"no JSON", {"Content-Type": "application/json"}),
    ("GET", "/%1b%0a%C3%A9", b"", {}),
]


class Line(NamedTuple):
    level: str
    logger: str
    message: str


def a_day(server: Server, files: Path) -> str:
    """Requests of each kind, one after another; returns what the log has of them."""
    begin = len(server.text)
    cookie = server.log_in("Ada")
    for path in ("/healthz", "/readyz", "/metrics", "/favicon.ico", "/static/style.css"):
        assert server.request("GET", path)[0] == 200
    server.request("GET", "/", cookie="session=forged")
    server.request("GET", "/user/sessions", cookie=cookie)
    for number, (method, path, body, headers) in enumerate(REFUSED):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request(method, f"{path}?refused={number}", body, headers)
        assert 400 <= received(connection)[0] < 500
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("POST", "/user/logout", headers={"Origin": "https://evil.example"})
    assert received(connection)[0] == 403
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(b"GET / HTTP/9\r\n\r\n")
        while client.recv(1024):
            pass
    server.request("POST", "/user/logout", {}, cookie)
    server.request("GET", "/", cookie=cookie)
    for file in files.glob("sessions.db*"):
        file.unlink()
    assert server.request("GET", "/", cookie=cookie)[0] == 503
    server.request("GET", "/last")
    server.wait_for("GET /last .*\n")
    return server.text[begin:]


def lines_of(directory: Path, log_format: str) -> list[Line]:
    directory.mkdir()
    with running_server(directory, HELLO_TORNADO_SERVER__LOG_FORMAT=log_format) as server:
        text = a_day(server, directory / "var")
    lines = []
    for line in text.splitlines():
        if log_format == "json":
            members = json.loads(line)
            told = members["level"], members["logger"], members["message"]
            if "event" in members:
                facts = [
                    f"{name}={value!a}"
                    for name, value in members.items()
                    if name not in {"time", "level", "logger", "process", "message", "event"}
                ]
                assert members["message"] == " ".join([members["event"], *facts])
        else:
            match = PLAIN.fullmatch(line)
            assert match is not None, line
            told = match[1], match[2], match[3]
        lines.append(Line(*(CHANGING.sub("*", part) for part in told)))
    return lines


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Line]]:
    directory = tmp_path_factory.mktemp("logs")
    return {kind: lines_of(directory / kind, kind) for kind in ("text", "json")}


def test_both_formats_tell_the_same_events(told: dict[str, list[Line]]) -> None:
    assert told["text"] == told["json"]


def test_each_event_is_one_line(told: dict[str, list[Line]]) -> None:
    messages = [line.message for line in told["text"]]
    for number in range(len(REFUSED)):
        assert len([one for one in messages if f"?refused={number} " in one]) == 1, messages
    events = [
        one.partition(" ")[0] for one in messages if re.match("[A-Z][a-z]+[A-Z]?[a-z]+ ", one)
    ]
    events = [one for one in events if one not in {"Malformed", "The"}]
    assert events == ["Created", "LoggedIn", "CookieRejected", "RequestForbidden", "Ended"]
    assert len([one for one in messages if "/user/logout" in one and "?" not in one]) == 1


def test_probes_and_icons_are_no_events(told: dict[str, list[Line]]) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/favicon.ico", "/static/"):
        assert not [line for line in told["text"] if path in line.message]
