"""The schema: made by migrations or by the library itself, it is the same."""

import asyncio
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from every_store import SQL, UrlOf
from running import clean_environment, run_command
from sqlalchemy import inspect, select

from hello_tornado.accounts.tables import users
from hello_tornado.database import migrate
from hello_tornado.database.connection import transaction
from hello_tornado.problem import Problem
from hello_tornado.sessions import open_store
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import Swap
from hello_tornado.sessions.testing import make_record

ROOT = Path(__file__).parent.parent.parent

KILLED_UPGRADE = """
import os, signal, sys
from alembic.operations import Operations
from hello_tornado.accounts.tables import users
from hello_tornado.database import migrate

Operations.create_index = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
migrate.upgrade(sys.argv[1])
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/sessions.db"


@pytest.fixture(params=SQL)
def any_url(request: pytest.FixtureRequest, empty_url_of: UrlOf) -> str:
    return empty_url_of(request.param)


def stored(url: str) -> SessionKey:
    """The key of a session that the library has put into the database."""

    async def store_one() -> SessionKey:
        store, record = open_store(url), make_record()
        await store.save([Swap(None, record)])
        await store.aclose()
        return record.key

    return asyncio.run(store_one())


def is_stored(url: str, key: SessionKey) -> bool:
    async def load_one() -> bool:
        store = open_store(url)
        try:
            return key in await store.load([key])
        finally:
            await store.aclose()

    return asyncio.run(load_one())


def test_the_migrations_make_the_tables_that_the_code_describes(any_url: str) -> None:
    assert migrate.state(any_url).current is None
    assert migrate.upgrade(any_url) is None
    assert migrate.state(any_url).is_current
    assert migrate.differences(any_url) == []
    assert migrate.upgrade(any_url) is None


def test_tables_that_the_library_made_are_taken_over(url: str) -> None:
    key = stored(url)
    assert migrate.state(url).current is None
    assert migrate.differences(url) == []
    migrate.upgrade(url)
    assert migrate.differences(url) == []
    assert migrate.state(url).is_current
    assert is_stored(url, key)


def test_a_table_of_somebody_else_is_left_alone(url: str) -> None:
    with transaction(url) as connection:
        connection.exec_driver_sql("CREATE TABLE sessions (id TEXT)")
    with pytest.raises(Problem, match="the table sessions is another program's"):
        migrate.upgrade(url)
    assert migrate.state(url).current is None


def test_what_holds_data_is_backed_up_before_it_changes(url: str) -> None:
    migrate.upgrade(url)
    assert migrate.downgrade(url, "base") is None, "there was nothing in it"
    migrate.upgrade(url)
    key = stored(url)
    backup = migrate.downgrade(url, "base")
    assert backup is not None
    assert backup.name == "sessions.db.0003.backup1"
    assert backup.stat().st_mode & 0o077 == 0
    assert is_stored(f"sqlite:///{backup}", key)
    assert not is_stored(url, key)


def test_many_that_upgrade_at_once_end_with_one_upgrade(any_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        schemas = list(
            pool.map(
                lambda _: (
                    subprocess.run(
                        [sys.executable, "-m", "hello_tornado", "db", "upgrade"],
                        env=clean_environment() | {"HELLO_TORNADO_STORE__URL": any_url},
                        capture_output=True,
                        text=True,
                        check=True,
                    ).stdout
                ),
                range(4),
            )
        )
    assert schemas == ["the schema is 0003\n"] * 4
    assert migrate.differences(any_url) == []


def test_an_upgrade_that_fails_in_the_middle_can_be_repeated(
    any_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("alembic.operations.Operations.create_index", broken)
    with pytest.raises(ZeroDivisionError):
        migrate.upgrade(any_url)
    assert migrate.state(any_url).current is None
    monkeypatch.undo()
    migrate.upgrade(any_url)
    assert migrate.differences(any_url) == []


def test_an_upgrade_that_was_killed_in_the_middle_can_be_repeated(any_url: str) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_UPGRADE, any_url],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert migrate.state(any_url).current is None
    migrate.upgrade(any_url)
    assert migrate.differences(any_url) == []


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_server_does_not_serve_without_its_schema(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    setting = {"HELLO_TORNADO_STORE__URL": request.getfixturevalue(f"{kind}_url")}
    for arguments in (["serve", "--port", "0"], ["serve", "--port", "0", "--processes", "2"]):
        done = run_command(tmp_path, *arguments, **setting)
        assert done.returncode == 2
        assert done.stderr.count("run: python -m hello_tornado db upgrade") == 1


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("postgresql://x@127.0.0.1:1/x", "Connection refused"),
        ("mariadb://x@127.0.0.1:1/x", "Connection refused"),
    ],
)
def test_a_server_that_is_not_there_is_named_with_the_cure(url: str, cause: str) -> None:
    with pytest.raises(Problem, match=cause) as caught:
        migrate.state(url)
    assert "start the store" in caught.value.cure


@pytest.mark.parametrize("command", ["upgrade head", "check", "current"])
def test_plain_alembic_works_in_the_checkout(any_url: str, command: str) -> None:
    migrate.upgrade(any_url)
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *command.split()],
        cwd=ROOT,
        env=clean_environment() | {"HELLO_TORNADO_STORE__URL": any_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_plain_alembic_makes_the_same_schema_from_nothing(any_url: str) -> None:
    for command in ("upgrade head", "current", "downgrade base"):
        done = subprocess.run(
            [sys.executable, "-m", "alembic", *command.split()],
            cwd=ROOT,
            env=clean_environment() | {"HELLO_TORNADO_STORE__URL": any_url},
            capture_output=True,
            text=True,
            check=True,
        )
        if command == "current":
            assert "0003 (head)" in done.stdout
            assert migrate.state(any_url).is_current
            assert migrate.differences(any_url) == []
    assert migrate.state(any_url).current is None


def test_a_backup_holds_what_a_running_store_has_only_in_its_log(url: str) -> None:
    async def back_up_beside_a_store() -> tuple[SessionKey, Path | None]:
        store, record = open_store(url), make_record()
        await store.save([Swap(None, record)])
        try:
            backup = await asyncio.to_thread(migrate.downgrade, url, "base")
        finally:
            await store.aclose()
        return record.key, backup

    migrate.upgrade(url)
    key, backup = asyncio.run(back_up_beside_a_store())
    assert backup is not None
    assert is_stored(f"sqlite:///{backup}", key)


def test_a_second_backup_leaves_the_first_as_it_is(url: str) -> None:
    kept = []
    for _ in range(2):
        migrate.upgrade(url)
        kept.append((stored(url), migrate.downgrade(url, "base")))
    for key, backup in kept:
        assert is_stored(f"sqlite:///{backup}", key)


def test_an_upgrade_of_tables_with_data_backs_them_up_once_and_changes_none(
    url: str, tmp_path: Path
) -> None:
    key = stored(url)
    backup = migrate.upgrade(url)
    assert backup == tmp_path / "sessions.db.unversioned.backup1"
    assert migrate.upgrade(url) is None
    assert is_stored(url, key)
    assert is_stored(f"sqlite:///{backup}", key)


def tables(url: str, *statements: str) -> set[str]:
    """Run statements; returns the names of all tables."""
    with transaction(url) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        return {*inspect(connection).get_table_names()}


OURS = {"hello_tornado_users", "hello_tornado_guesses"}
SESSIONS = {"sessions", "hello_tornado_alembic_version"}


def test_accounts_are_made_when_they_are_needed(any_url: str) -> None:
    migrate.upgrade(any_url)
    assert tables(any_url) == SESSIONS
    assert not migrate.state(any_url, accounts=True).is_current
    with pytest.raises(Problem, match="no tables for accounts"):
        migrate.state(any_url, accounts=True).check()
    migrate.upgrade(any_url, accounts=True)
    assert tables(any_url) == SESSIONS | OURS
    assert migrate.state(any_url, accounts=True).is_current
    assert migrate.differences(any_url, accounts=True) == migrate.differences(any_url) == []


@pytest.mark.parametrize("accounts", [False, True])
def test_an_applications_own_users_are_left_alone(any_url: str, accounts: bool) -> None:
    tables(any_url, "CREATE TABLE users (id INTEGER)", "CREATE TABLE guesses (id INTEGER)")
    migrate.upgrade(any_url, accounts=accounts)
    theirs = {"users", "guesses"}
    assert tables(any_url) == SESSIONS | theirs | (OURS if accounts else set())
    assert migrate.differences(any_url, accounts=accounts) == []
    migrate.downgrade(any_url, "base")
    assert tables(any_url) - {"hello_tornado_alembic_version"} == theirs


def test_accounts_under_their_old_names_are_renamed_with_what_is_in_them(any_url: str) -> None:
    """As the revision 0002 made them at its time."""
    migrate.upgrade(any_url, accounts=True)
    tables(any_url, "INSERT INTO hello_tornado_users VALUES ('ada', 'Ada', 'hash', 1, NULL, 7)")
    before = migrate.differences(any_url, accounts=True)
    migrate.downgrade(any_url, "0002")
    assert tables(any_url) == SESSIONS | {"users", "guesses"}
    with transaction(any_url) as connection:
        names = {index["name"] for index in inspect(connection).get_indexes("users")}
    assert names == {"ix_users_signed_out_at"}
    migrate.upgrade(any_url, accounts=True)
    assert tables(any_url) == SESSIONS | OURS
    assert migrate.differences(any_url, accounts=True) == before == []
    with transaction(any_url) as connection:
        (row,) = connection.execute(select(users))
    assert (row.user_id, row.signed_out_at) == ("ada", 7)


@pytest.mark.parametrize("mode", ["open", "password"])
@pytest.mark.slow
def test_the_commands_make_what_the_login_needs(any_url: str, mode: str, tmp_path: Path) -> None:
    settings = {"HELLO_TORNADO_STORE__URL": any_url, "HELLO_TORNADO_LOGIN__MODE": mode}
    for command in ("upgrade", "check"):
        assert run_command(tmp_path, "db", command, **settings).returncode == 0
    assert tables(any_url) == SESSIONS | (OURS if mode == "password" else set())
    settings["HELLO_TORNADO_LOGIN__MODE"] = "password"
    done = run_command(tmp_path, "db", "check", **settings)
    assert done.returncode == (0 if mode == "password" else 2), done.stderr
    if mode == "open":
        assert "no tables for accounts" in done.stderr
        listed = run_command(tmp_path, "db", "current", **settings)
        assert listed.stdout == "0003 without accounts (this program needs 0003)\n"
