"""/metrics: the numbers of all processes, for those who may see them."""

import http.client
import re
from pathlib import Path

from running import Server, received, running_server

TOKEN = "a token for those who measure"


def numbers(server: Server, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request("GET", "/metrics", headers=headers)
    status, _, body = received(connection)
    return status, body


def number(text: str, name: str) -> float:
    found = re.search(rf"^hello_tornado_{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0


def test_it_counts_what_happened(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        cookie = server.log_in("Ada")
        server.log_in("Bob")
        server.request("GET", "/", cookie=cookie)
        server.request("POST", "/user/logout", cookie=cookie)
        server.request("GET", "/", cookie="session=forged")
        status, text = numbers(server)
        assert status == 200
        assert number(text, 'session_events_total{event="logged_in"}') == 2
        assert number(text, 'sessions_ended_total{reason="logged_out"}') == 1
        assert number(text, 'cookies_rejected_total{reason="not_ours"}') == 1
        assert number(text, "sessions_live") == 1
        assert number(text, 'store_call_sessions_count{operation="load"}') >= 2
        for secret in (cookie.partition("=")[2], "Ada", "Bob"):
            assert secret not in text


def test_it_is_for_this_machine_or_with_a_token(tmp_path: Path) -> None:
    with running_server(tmp_path, HELLO_TORNADO_SERVER__METRICS_TOKEN=TOKEN) as server:
        assert numbers(server)[0] == 200
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Client-IP"):
            assert numbers(server, **{header: "203.0.113.9"})[0] == 403, "somebody behind a proxy"
        for host, status in (
            ("localhost", 200),
            ("127.0.0.1:8080", 200),
            ("[::1]:8080", 200),
            ("evil.example", 403),  # a page there whose name was made to lead here
            ("localhost.evil.example", 403),
        ):
            assert numbers(server, Host=host)[0] == status
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert numbers(server, **bearer, **{"X-Forwarded-For": "203.0.113.9"})[0] == 200
        assert numbers(server, Authorization="Bearer another")[0] == 403
        assert numbers(server, Authorization="Bearer \u00fc")[0] == 403
        assert TOKEN not in server.text


def test_behind_a_known_proxy_they_are_for_the_token_only(tmp_path: Path) -> None:
    """A proxy need not say that it is one."""
    settings = {"PROXIES": "127.0.0.1", "METRICS_TOKEN": TOKEN}
    environment = {f"HELLO_TORNADO_SERVER__{name}": value for name, value in settings.items()}
    with running_server(tmp_path, **environment) as server:
        for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"X-Real-IP": "127.0.0.1"}):
            assert numbers(server, **headers)[0] == 403
            assert numbers(server, **headers, Authorization=f"Bearer {TOKEN}")[0] == 200


def test_several_processes_are_counted_together(tmp_path: Path) -> None:
    with running_server(tmp_path, "--port", "0", "--processes", "3") as server:
        for number_ in range(30):
            server.log_in(f"user {number_}")
        for _ in range(6):
            _, text = numbers(server)
            assert number(text, 'session_events_total{event="created"}') == 30
            assert number(text, "sessions_live") == 30
