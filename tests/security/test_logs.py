"""What the log tells, and what it never does."""

import http.client
import io
import json
import logging
import signal
from pathlib import Path
from typing import Any

import pytest
from running import received, run_command, running_server

from hello_tornado.logs import JsonFormatter, PlainFormatter, WithoutCookies
from hello_tornado.sessions import SessionManager, open_store
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.event_log import EventLog
from hello_tornado.sessions.events import CookieRejected, Created, Expired
from hello_tornado.sessions.records.ids import key_of
from hello_tornado.sessions.records.lifetimes import system_clock

EVIL = "a\nERROR fake: line\r\x1b[31m\u2028\u202e%s{}"


@pytest.fixture
def log() -> Any:
    """A logger of the test's own, and what its two formatters have written."""
    logger = logging.Logger("test")  # noqa: LOG001 - of this test alone
    written: dict[str, io.StringIO] = {}
    for name, formatter in (("text", PlainFormatter()), ("json", JsonFormatter())):
        written[name] = io.StringIO()
        handler = logging.StreamHandler(written[name])
        handler.setFormatter(formatter)
        handler.addFilter(WithoutCookies())
        logger.addHandler(handler)
    return logger, written


def test_nobody_writes_a_line_of_his_own(log: Any) -> None:
    logger, written = log
    logger.warning("user %s", EVIL)
    (line,) = written["text"].getvalue().splitlines()
    assert line.endswith(r"user a\nERROR fake: line\r\x1b[31m\u2028\u202e%s{}")
    (line,) = written["json"].getvalue().splitlines()
    assert json.loads(line)["message"] == f"user {EVIL}"
    assert line.isascii()


def test_a_traceback_is_no_line_of_its_own_either(log: Any) -> None:
    logger, written = log
    try:
        int(EVIL)
    except ValueError:
        logger.exception("failed")
    first, *others = written["text"].getvalue().rstrip("\n").split("\n")
    assert first.endswith("ERROR test: failed")
    assert others
    assert all(line.startswith("    ") for line in others)
    assert "ValueError" in json.loads(written["json"].getvalue())["traceback"]


def test_a_cookie_in_somebody_elses_line_is_taken_out(log: Any) -> None:
    logger, written = log
    value = Keyring.of({"cookie_secret": "x" * 40}).sign("session", "y" * 43, 1_800_000_000_000_000)  # type: ignore[arg-type]
    logger.info("Invalid header value %r", f"session=\0{value}")
    for text in (one.getvalue() for one in written.values()):
        assert "2|***" in text
        assert value[20:] not in text


def test_an_event_is_json_with_its_facts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    EventLog(lambda: 0)(Created("handle", "ada\n"))
    members = json.loads(JsonFormatter().format(caplog.records[0]))
    assert members["time"].endswith("+00:00")
    assert {name: members[name] for name in ("level", "event", "handle", "user_id")} == {
        "level": "INFO",
        "event": "Created",
        "handle": "handle",
        "user_id": "ada\n",
    }
    assert "\n" not in caplog.messages[0]


def test_what_strangers_can_cause_is_limited_each_by_its_reason(
    caplog: pytest.LogCaptureFixture, clock: Any
) -> None:
    caplog.set_level(logging.INFO)
    hook = EventLog(clock)
    for _ in range(100):
        for event in (CookieRejected("not_ours"), CookieRejected("too_many"), Expired("h", None)):
            hook(event)
        hook(Created("handle", None))
    assert len([one for one in caplog.messages if not one.startswith("Created")]) == 3
    assert len(caplog.messages) == 103
    clock.advance(hours=3)
    hook(CookieRejected("not_ours"))
    assert caplog.messages[-1] == "CookieRejected reason='not_ours' left_out=99"


@pytest.mark.parametrize("store", ["sqlite:///var/sessions.db", "redis"])
def test_a_day_at_the_server_leaves_its_events_and_no_secret(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("redis_url") if store == "redis" else store
    environment = {
        "HELLO_TORNADO_STORE__URL": url,
        "HELLO_TORNADO_SERVER__LOG_FORMAT": "json",
        "HELLO_TORNADO_COOKIE_SECRET": "a secret of this test, and of no other",
    }
    with running_server(tmp_path, before=("--debug",), **environment) as server:
        first = server.log_in("Ada")
        second = server.log_in("Ada")
        server.request("PUT", "/api/session/diagnosis", '"a private matter"', second)
        server.request("GET", "/", cookie="session=forged")
        server.request("GET", "/", cookie=first)
        server.request("POST", "/user/logout", {}, first)
        server.request("GET", "/", cookie=first)
        server.request("POST", "/user/login", b"username=%ff".decode(), "")
        done = run_command(tmp_path, "sessions", "revoke", "--user", "Ada", **environment)
        assert done.returncode == 0, done.stderr
        server.request("GET", "/", cookie=second)
        connection = server.send("GET", "/")
        connection.close()
        assert server.stop(signal.SIGTERM) == 0
        text = server.text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    events = [line["event"] for line in lines if "event" in line]
    assert events.count("LoggedIn") == 2
    assert events.count("CookieRejected") == 1
    assert [line["reason"] for line in lines if line.get("event") == "Ended"] == ["logged_out"]
    keyring = Keyring.of({"cookie_secret": environment["HELLO_TORNADO_COOKIE_SECRET"]})
    secrets = [environment["HELLO_TORNADO_COOKIE_SECRET"], "private matter"]
    for cookie in (first, second):
        value = cookie.partition("=")[2]
        signed = keyring.verify("session", value, system_clock())
        assert signed is not None
        key = key_of(signed.session_id)
        secrets += [value, signed.session_id, key.hex(), repr(bytes(key))[2:-1]]
    assert not [secret for secret in secrets if secret in text or secret in done.stdout]


@pytest.mark.gen_test
async def test_login_logout_renewal_revocation_and_expiry_are_events(clock: Any) -> None:
    told: list[str] = []
    manager = SessionManager(
        open_store("memory://"), clock=clock, hooks=[lambda e: told.append(type(e).__name__)]
    )

    async def logged_in() -> Any:
        session = await manager.open(None)
        session.login("ada")
        return session, await manager.commit(session)

    session, _ = await logged_in()
    session.renew()
    await manager.commit(session)
    session.destroy()
    await manager.commit(session)
    await logged_in()
    await manager.revoke_user("ada")
    _, action = await logged_in()
    clock.advance(hours=2)
    await manager.open(action.session_id)
    assert told == [
        *("Created", "LoggedIn", "Renewed", "Ended"),
        *("Created", "LoggedIn", "Ended"),
        *("Created", "LoggedIn", "Expired"),
    ]


def test_a_refusal_is_one_line_and_probes_leave_none(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        before = len(server.text)
        for path in ("/healthz", "/readyz", "/metrics", "/favicon.ico", "/static/style.css"):
            assert server.request("GET", path)[0] == 200
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("POST", "/user/logout", headers={"Origin": "https://evil.example"})
        assert received(connection)[0] == 403
        server.request("GET", "/last")
        server.wait_for("GET /last")
        lines = server.text[before:].splitlines()
    assert len(lines) == 2
    assert "RequestForbidden reason='origin'" in lines[0]
    assert "404 GET /last" in lines[1]
