"""`sessions list|show|revoke|stats` and `purge`, alike on every store."""

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from every_store import SQL, UrlOf
from running import run_command, running_server

from hello_tornado.cli import main as cli
from hello_tornado.database import migrate
from hello_tornado.sessions import SessionManager, open_store
from hello_tornado.sessions.records.record import SessionRecord, Swap
from hello_tornado.sessions.records.tombstones import ERA
from hello_tornado.sessions.testing import HOUR, make_record

MINUTE = HOUR // 60
DAY = 24 * HOUR
ODD = "Eve\x1b[31m\u202eecila"

Command = Callable[..., str]


@pytest.fixture
def url(shared_url: str) -> str:
    if shared_url.startswith("sqlite"):
        migrate.upgrade(shared_url)
    return shared_url


@pytest.fixture
def command(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    for name in [name for name in os.environ if name.startswith("HELLO_TORNADO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HELLO_TORNADO_STORE__URL", url)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["hello-tornado", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        assert (end.value.code or 0) == code, printed
        assert "Traceback" not in printed.err
        return printed.out + printed.err

    return run


def save(url: str, *records: SessionRecord) -> None:
    async def run() -> None:
        store = open_store(url)
        await store.save([Swap(None, record) for record in records])
        await store.aclose()

    asyncio.run(run())


def session(
    user: str | None = None, *, begun: int = 0, used: int = 0, ends: int = HOUR, **data: Any
) -> SessionRecord:
    """A session that began and was used so long ago, and ends so soon, in microseconds."""
    now = time.time_ns() // 1000
    document = {"data": data, "meta": {}, "user_id": user}
    return make_record(
        user_id=user,
        data=json.dumps(document).encode(),
        created_at=now - begun,
        accessed_at=now - used,
        expires_at=now + ends,
    )


def test_sessions_are_listed_by_their_end_and_a_page_at_a_time(url: str, command: Command) -> None:
    records = [session("Ada", ends=HOUR + n * MINUTE) for n in range(5)]
    save(url, session("Ada", ends=-1), *reversed(records))
    handles = [record.handle for record in records]
    first = json.loads(command("sessions", "list", "--limit", "3", "--json"))
    assert [one["handle"] for one in first["sessions"]] == handles[:3]
    assert first["after"] == handles[2]
    rest = json.loads(command("sessions", "list", "--after", first["after"], "--json"))
    assert [one["handle"] for one in rest["sessions"]] == handles[3:]
    assert rest["after"] is None
    text = command("sessions", "list", "--limit", "2")
    assert re.findall(r"^(\w{20})  Ada ", text, re.MULTILINE) == handles[:2]
    assert f"there are more: add --after {handles[1]}" in text
    mine = json.loads(command("sessions", "list", "--user", "Ada", "--after", handles[3], "--json"))
    assert [one["handle"] for one in mine["sessions"]] == handles[4:]


def test_sessions_are_chosen_by_user_age_and_idleness(url: str, command: Command) -> None:
    old = session("Ada", begun=2 * DAY, used=MINUTE)
    idle = session("Ada", begun=HOUR, used=50 * MINUTE)
    fresh, anonymous = session("ada"), session()
    save(url, old, idle, fresh, anonymous)

    def listed(*options: str) -> set[str]:
        found = json.loads(command("sessions", "list", "--json", *options))
        return {one["handle"] for one in found["sessions"]}

    assert listed() == {one.handle for one in (old, idle, fresh, anonymous)}
    assert listed("--user", "Ada") == {old.handle, idle.handle}
    assert listed("--older-than", "1d") == {old.handle}
    assert listed("--idle-for", "30m") == {idle.handle}
    assert listed("--user", "Ada", "--idle-for", "30m") == {idle.handle}
    assert listed("--user", "nobody") == set()
    assert "no such sessions" in command("sessions", "list", "--user", "nobody")
    assert "is not a duration" in command("sessions", "list", "--older-than", "30 minutes", code=2)


def test_no_command_shows_a_key_or_data_that_was_not_asked_for(url: str, command: Command) -> None:
    record = session(ODD, cart=["tea"], **{"odd\x1b[0m": 1})
    save(url, record)
    texts = [
        command("sessions", *arguments)
        for arguments in (
            ("list",),
            ("list", "--json"),
            ("show", record.handle),
            ("show", record.handle, "--json"),
            ("stats",),
        )
    ]
    for text in texts:
        assert record.key.hex() not in text
        assert "tea" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "Eve\\x1b[31m\\u202eecila" in texts[0]
    assert json.loads(texts[3])["keys"] == ["cart", "odd\x1b[0m"]
    assert "tea" in command("sessions", "show", record.handle, "--data")
    shown = json.loads(command("sessions", "show", record.handle, "--data", "--json"))
    assert shown["data"] == {"cart": ["tea"], "odd\x1b[0m": 1}
    assert shown["user"] == ODD


def test_sessions_are_revoked_by_handle_or_by_choice(url: str, command: Command) -> None:
    one, two = session("Ada"), session("Ada")
    bob, old, rest = session("Bob"), session("Eve", begun=2 * DAY), session()
    save(url, one, two, bob, old, rest)
    assert "1 session revoked" in command("sessions", "revoke", one.handle)
    text = command("sessions", "revoke", one.handle, two.handle, code=4)
    assert "1 session revoked" in text
    assert "no session was found for 1 of the handles" in text
    assert "1 session revoked" in command("sessions", "revoke", "--user", "Bob")
    assert "1 session revoked" in command("sessions", "revoke", "--older-than", "1d")
    assert "not clear" in command("sessions", "revoke", code=2)
    assert "not clear" in command("sessions", "revoke", rest.handle, "--all", code=2)
    assert "1 session revoked" in command("sessions", "revoke", "--all")
    assert json.loads(command("sessions", "stats", "--json"))["living"] == 0


@pytest.mark.parametrize("handle", ["nobody", "\udcff", "a\udc1b", 20 * "0"], ids=ascii)
def test_an_unknown_handle_is_said_to_be_one(command: Command, handle: str) -> None:
    """What a terminal sends that is no UTF-8 arrives with lone surrogates."""
    for arguments in (("show", handle), ("list", "--after", handle), ("revoke", handle)):
        text = command("sessions", *arguments, code=4)
        assert "error: " in text
        assert "sessions list" in text


@pytest.mark.parametrize("user", ["\udcff", "", 256 * "a"], ids=ascii)
def test_what_can_be_nobodys_name_is_refused(command: Command, user: str) -> None:
    for verb in ("list", "export", "revoke"):
        assert "error: user_id " in command("sessions", verb, "--user", user, code=2)


def test_thousands_are_counted_listed_revoked_and_purged(url: str, command: Command) -> None:
    living = [session(f"user {n % 7}") for n in range(1200)] + [session() for _ in range(50)]
    dead = [session(ends=-MINUTE) for _ in range(1100)]
    for start in range(0, 1250, 250):
        save(url, *living[start : start + 250], *dead[start : start + 250])
    found = json.loads(command("sessions", "stats", "--json"))
    assert found == {
        "living": 1250,
        "logged_in": 1200,
        "anonymous": 50,
        "users": 7,
        "expired": 1100,
        "bytes": sum(len(one.data) for one in living),
        "biggest_bytes": max(len(one.data) for one in living),
    }
    assert (
        len(json.loads(command("sessions", "list", "--limit", "2000", "--json"))["sessions"])
        == 1250
    )
    assert command("purge", "--dry-run").strip() == "1,100 expired sessions would be deleted"
    assert command("purge").strip() == "1,100 expired sessions deleted"
    assert command("purge").strip() == "0 expired sessions deleted"
    assert command("sessions", "revoke", "--all").strip() == "1,250 sessions revoked"


def test_a_session_that_cannot_be_read_is_listed_and_can_be_revoked(
    url: str, command: Command
) -> None:
    now = time.time_ns() // 1000
    record = make_record(data=b"\xff", accessed_at=now, expires_at=now + HOUR)
    save(url, record)
    assert record.handle in command("sessions", "list")
    assert record.handle in command("sessions", "show", record.handle)
    assert "1 session revoked" in command("sessions", "revoke", record.handle)


def test_a_running_server_obeys_at_the_next_request(
    url: str, command: Command, tmp_path: Path
) -> None:
    with running_server(tmp_path, HELLO_TORNADO_STORE__URL=url) as server:
        cookie = server.log_in("Ada")
        assert "Hello Ada" in server.request("GET", "/", cookie=cookie)[2]
        found = json.loads(command("sessions", "list", "--user", "Ada", "--json"))
        (session,) = found["sessions"]
        command("sessions", "revoke", session["handle"])
        assert "Hello Ada" not in server.request("GET", "/", cookie=cookie)[2]


def test_a_memory_store_cannot_be_seen_from_outside(tmp_path: Path) -> None:
    for arguments in (("sessions", "list"), ("purge",)):
        done = run_command(tmp_path, *arguments, HELLO_TORNADO_STORE__URL="memory://")
        assert done.returncode == 2
        assert "no command can read it" in done.stderr


def test_notes_of_ended_sessions_are_no_expired_sessions(url: str, command: Command) -> None:
    """A tombstone says why a session has ended, and its moments are before 1970."""
    ended = time.time_ns() // 1000 - ERA
    note = make_record(created_at=ended, accessed_at=ended, expires_at=ended + HOUR)
    save(url, session("Ada"), session("Bob", used=HOUR, ends=-MINUTE), note)
    assert json.loads(command("sessions", "stats", "--json"))["expired"] == 1
    assert "1 expired session would be deleted" in command("purge", "--dry-run")
    assert "1 expired session deleted" in command("purge")
    assert json.loads(command("sessions", "stats", "--json"))["expired"] == 0


def test_the_sessions_of_a_user_are_exported(url: str, command: Command) -> None:
    save(url, session("ada", cart=["apple"]), session("ada", n=1), session("bob", secret=1))
    for name in ("ada", "Ada"):
        exported = json.loads(command("sessions", "export", "--user", name))["sessions"]
        assert sorted(map(str, (one["data"] for one in exported))) == [
            "{'cart': ['apple']}",
            "{'n': 1}",
        ]


def test_names_are_printed_to_the_letter(url: str, command: Command) -> None:
    for name in (":key:", "[red]Ada[/red]"):
        save(url, session(name))
        assert name in command("sessions", "list")


@pytest.mark.parametrize("kind", [*SQL, "redis"])
def test_a_librarys_store_is_named_on_the_command_line(
    empty_url_of: UrlOf, kind: str, tmp_path: Path
) -> None:
    """One that no server has, and no migration; the settings in the way name another one."""
    url = empty_url_of(kind)

    async def begin() -> str | None:
        async with SessionManager(url, log=False) as manager:
            session = await manager.open(None)
            session.login("ada")
            await manager.commit(session)
            return session.handle

    handle = asyncio.run(begin())
    (tmp_path / "settings.yaml").write_text("store: {url: redis://127.0.0.1:1/0}\n")
    listed = run_command(tmp_path, "sessions", "list", "--store", url, "--json")
    assert listed.returncode == 0, listed.stderr
    assert [one["handle"] for one in json.loads(listed.stdout)["sessions"]] == [handle]
    origin = run_command(tmp_path, "config", "show", "--store", url, "--json")
    assert json.loads(origin.stdout)["store.url"]["origin"] == "command line"
    ended = run_command(tmp_path, "sessions", "revoke", "--user", "ada", "--store", url)
    assert ended.returncode == 0, ended.stderr
    purged = run_command(tmp_path, "purge", "--store", url)
    assert purged.returncode == 0, purged.stderr


def test_every_command_with_settings_takes_a_store() -> None:
    def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
        for word, one in getattr(command, "commands", {}).items():
            yield from leaves(one, f"{name} {word}")
        if not hasattr(command, "commands"):
            yield name, {option for one in command.params for option in one.opts}

    found = dict(leaves(typer.main.get_command(cli.cli)))
    assert len(found) > 20
    found.pop(" sessions move")  # what moves is what the settings of all servers say
    assert {name for name, options in found.items() if "--settings" in options} == {
        name for name, options in found.items() if "--store" in options
    }
