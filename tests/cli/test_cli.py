"""The command line: what it does, and one line of cause and one of cure for what it cannot do."""

import json
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from running import clean_environment, run_command
from sqlalchemy import create_engine, inspect, make_url

from hello_tornado import __version__


def printed(directory: Path, *arguments: str, **environment: str) -> str:
    """What a command prints; it has to succeed."""
    done = run_command(directory, *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def failed(directory: Path, *arguments: str, code: int = 2, **environment: str) -> list[str]:
    """The cause and the cure of a command that has to fail."""
    done = run_command(directory, *arguments, **environment)
    assert (done.returncode, done.stdout) == (code, ""), done.stdout
    lines = done.stderr.strip().splitlines()
    assert [line[:7] for line in lines] == ["error: ", "cure:  "], done.stderr
    return [line[7:] for line in lines]


def test_the_schema_goes_up_and_down(tmp_path: Path) -> None:
    assert printed(tmp_path, "db", "current") == "none (this program needs 0003)"
    assert failed(tmp_path, "db", "check") == [
        "the database has no schema, this program needs 0003",
        "run: python -m hello_tornado db upgrade",
    ]
    assert printed(tmp_path, "db", "upgrade") == "the schema is 0003"
    assert printed(tmp_path, "db", "upgrade") == "the schema is 0003"
    assert printed(tmp_path, "db", "check") == "the schema is current"
    assert printed(tmp_path, "db", "downgrade", "base") == "the schema is gone"


def test_a_schema_of_the_future_is_refused_everywhere(tmp_path: Path) -> None:
    printed(tmp_path, "db", "upgrade")
    database = sqlite3.connect(tmp_path / "var/sessions.db")
    with database:
        database.execute("UPDATE hello_tornado_alembic_version SET version_num = '9999'")
    database.close()
    for command in (("serve", "--port", "0"), ("db", "check"), ("db", "upgrade")):
        cause, cure = failed(tmp_path, *command)
        assert cause == "the database has the schema 9999, which is newer than this program's 0003"
        assert "the newer program" in cure


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var/sessions.db").write_text("This is a text, and quite a long one. " * 9)
    cause, cure = failed(tmp_path, "serve", "--port", "0", code=3)
    assert "sqlite:///var/sessions.db failed: file is not a database" in cause
    assert "SQLite" in cure


def test_a_store_without_a_schema_says_so(tmp_path: Path) -> None:
    url = {"HELLO_TORNADO_STORE__URL": "memory://"}
    assert "memory store has no schema" in failed(tmp_path, "db", "upgrade", **url)[0]
    cause, _ = failed(tmp_path, "config", "check", HELLO_TORNADO_STORE__URL="mongodb://x")
    assert "there is no store for mongodb; a store URL begins with one of: " in cause


def test_purge_tells_how_many(tmp_path: Path) -> None:
    printed(tmp_path, "db", "upgrade")
    assert printed(tmp_path, "purge") == "0 expired sessions deleted"


def test_a_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    first, second = printed(tmp_path, "secret"), printed(tmp_path, "secret")
    assert len(first) == len(second) == 86
    assert first != second
    assert "has a new secret" in printed(tmp_path, "secret", "--write", "etc/secret")
    path = tmp_path / "etc/secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    assert "exists already" in failed(tmp_path, "secret", "--write", "etc/secret")[0]
    assert path.read_text() == before


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    printed(tmp_path, "secret", "--write", "var/cookie_secret")
    (tmp_path / "var/cookie_secret").chmod(0o644)
    cause, cure = failed(tmp_path, "serve", "--port", "0")
    assert cause == "var/cookie_secret can be read or written by others (mode 0644)"
    assert cure == "chmod 600 var/cookie_secret"


def test_the_settings_are_shown_with_their_origin_and_without_the_secret(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("lifetimes: {idle: 30m}\n")
    shown = printed(
        tmp_path,
        "config",
        "show",
        HELLO_TORNADO_COOKIE_SECRET="hush" * 10,
        HELLO_TORNADO_SERVER__PORT="9000",
    )
    rows = [line.split() for line in shown.splitlines()]
    assert ["lifetimes.idle", "30m", "settings.yaml"] in rows
    assert ["server.port", "9000", "HELLO_TORNADO_SERVER__PORT"] in rows
    assert ["lifetimes.absolute", "1d", "default"] in rows
    assert "hush" not in shown


def test_the_settings_are_checked(tmp_path: Path) -> None:
    printed(tmp_path, "db", "upgrade")
    assert printed(tmp_path, "config", "check") == "the settings are good"


def test_debug_tells_the_whole_story(tmp_path: Path) -> None:
    done = run_command(tmp_path, "--debug", "db", "check")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "hello_tornado.problem.Problem: the database has no schema" in done.stderr


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where a directory should be")
    cause, cure = failed(tmp_path, "secret", "--write", "var/cookie_secret")
    assert "var" in cause
    assert "read and write it" in cure


@pytest.mark.parametrize("command", ["db current", "db upgrade", "purge", "serve --port 0"])
def test_a_url_that_is_none_is_named(tmp_path: Path, command: str) -> None:
    cause, _ = failed(tmp_path, *command.split(), HELLO_TORNADO_STORE__URL="nonsense")
    assert "URL" in cause


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_sqlite_without_a_file_has_no_schema_to_upgrade(tmp_path: Path, url: str) -> None:
    cause, _ = failed(tmp_path, "db", "upgrade", HELLO_TORNADO_STORE__URL=url)
    assert "needs a file" in cause
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["upgrade", "downgrade"])
def test_a_revision_that_is_none_is_named(tmp_path: Path, command: str) -> None:
    printed(tmp_path, "db", "upgrade")
    cause, _ = failed(tmp_path, "db", command, "nonsense")
    assert "nonsense" in cause


def test_a_schema_of_the_future_is_not_taken_back(tmp_path: Path) -> None:
    printed(tmp_path, "db", "upgrade")
    database = sqlite3.connect(tmp_path / "var/sessions.db")
    with database:
        database.execute("UPDATE hello_tornado_alembic_version SET version_num = '9999'")
    database.close()
    cause, _ = failed(tmp_path, "db", "downgrade", "base")
    assert "9999" in cause


def test_looking_at_a_schema_leaves_nothing_behind(tmp_path: Path) -> None:
    printed(tmp_path, "db", "current")
    assert list(tmp_path.iterdir()) == []


def test_the_settings_of_a_fresh_directory_are_good(tmp_path: Path) -> None:
    """A server could start with them: it makes the secret and the schema by itself."""
    assert printed(tmp_path, "config", "check") == "the settings are good"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("cookie: {path: nope}", "nope"),
        ("cookie: {name: a b}", "a b"),
        ("cookie: {secure: false, samesite: none}", "samesite"),
        ("lifetimes: {idle: null, absolute: null}", "timeout"),
        ("cookie_secret: {}", "cookie_secret"),
        ('cookie_secret: ""', "cookie_secret"),
    ],
)
def test_the_check_refuses_what_no_server_could_start_with(
    tmp_path: Path, text: str, word: str
) -> None:
    printed(tmp_path, "db", "upgrade")
    (tmp_path / "settings.yaml").write_text(text)
    assert word in failed(tmp_path, "config", "check")[0]


def test_a_secret_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    printed(tmp_path, "secret", "--write", "var/cookie_secret")
    (tmp_path / "var/cookie_secret").write_bytes(b"\xff\xfe")
    assert "var/cookie_secret" in failed(tmp_path, "config", "check")[0]


def test_a_settings_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    cause, _ = failed(tmp_path, "config", "show", "--settings", "nowhere.yaml")
    assert cause == "nowhere.yaml: cannot be read: No such file or directory"


def test_a_port_beyond_all_ports_is_named_with_its_origin(tmp_path: Path) -> None:
    cause, _ = failed(tmp_path, "serve", "--port", "65536")
    assert cause.startswith("command line: server.port: 65536 should be less than")


READING = [
    ("sessions", "list"),
    ("sessions", "show", "a-handle"),
    ("sessions", "stats"),
    ("sessions", "export", "--user", "Ada"),
    ("sessions", "revoke", "--all"),
    ("purge", "--dry-run"),
    ("users", "list"),
]


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_a_command_makes_no_database(tmp_path: Path, command: tuple[str, ...]) -> None:
    password = {"HELLO_TORNADO_LOGIN__MODE": "password"}
    cause, cure = failed(tmp_path, *command, code=4, **password)
    assert cause == "there is no database var/sessions.db"
    assert "store.url" in cure
    assert list(tmp_path.iterdir()) == []


DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql"}
OTHERS = {
    "an empty file": "",
    "somebody's database": "CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('cake')",
    "another table of that name": (
        "CREATE TABLE sessions (year INTEGER); CREATE TABLE users (name TEXT)"
    ),
}


@pytest.mark.parametrize("script", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize(
    "command", [*READING, ("db", "downgrade", "base"), ("db", "check")], ids=" ".join
)
@pytest.mark.slow
def test_a_command_leaves_a_database_of_others_as_it_is(
    tmp_path: Path, command: tuple[str, ...], script: str
) -> None:
    path = tmp_path / "var" / "sessions.db"
    path.parent.mkdir()
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)
    before = path.read_bytes()
    done = run_command(tmp_path, *command, HELLO_TORNADO_LOGIN__MODE="password")
    assert done.returncode in {2, 4}, done.stderr
    assert done.stderr.startswith("error: ")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_command_makes_nothing_in_the_database_of_a_server(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    settings = {"HELLO_TORNADO_STORE__URL": url, "HELLO_TORNADO_LOGIN__MODE": "password"}
    engine = create_engine(make_url(url).set(drivername=DRIVERS[kind]))
    for command in [*READING, ("db", "current"), ("db", "check"), ("config", "check")]:
        done = run_command(tmp_path, *command, **settings)
        assert done.returncode in {0, 2, 4}, done.stderr
        assert "Traceback" not in done.stderr
        assert inspect(engine).get_table_names() == [], command
    engine.dispose()


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Flour, sugar, eggs\n" * 100)
    url = {"HELLO_TORNADO_STORE__URL": "sqlite:///notes.txt"}
    cause, _ = failed(tmp_path, "sessions", "list", **url)
    assert cause == "notes.txt cannot be read as a database: file is not a database"


def test_a_downgrade_makes_no_database(tmp_path: Path) -> None:
    cause, _ = failed(tmp_path, "db", "downgrade", "base", code=4)
    assert cause == "there is no database var/sessions.db"
    assert list(tmp_path.iterdir()) == []


def test_the_version_is_told(tmp_path: Path) -> None:
    assert printed(tmp_path, "--version") == f"hello_tornado {__version__}"


def test_a_store_that_does_not_answer_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    for url in ("redis://127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/none"):
        failed(tmp_path, "sessions", "list", code=3, HELLO_TORNADO_STORE__URL=url)


def test_settings_are_written_with_what_they_mean_and_are_the_defaults(tmp_path: Path) -> None:
    before = printed(tmp_path, "config", "show")
    printed(tmp_path, "config", "init")
    assert "# Every setting" in (tmp_path / "settings.yaml").read_text()
    after = json.loads(printed(tmp_path, "config", "show", "--json"))
    for line in before.splitlines():
        name, value = line.split()[:2]
        given = after[name]["value"]
        shown = given if isinstance(given, str) else "none" if given == [] else json.dumps(given)
        assert shown == value, name
    assert "already" in failed(tmp_path, "config", "init")[0]
    assert "config init" in failed(tmp_path, "config", "check", HELLO_TORNADO_NONSENSE="1")[1]


# What a module may import at once: what takes long is imported where it is needed.
HEAVY = {
    "alembic",
    "argon2",
    "hello_tornado.database.migrate",
    "hello_tornado.server",
    "precis_i18n",
    "prometheus_client",
    "pydantic",
    "redis",
    "sqlalchemy",
    "tornado",
    "yaml",
    "zxcvbn",
}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [("hello_tornado.cli.main", HEAVY), ("hello_tornado.sessions", HEAVY - {"tornado"})],
)
def test_nothing_heavy_is_imported_before_it_is_needed(module: str, heavy: set[str]) -> None:
    program = f"import sys, {module}; print(*({heavy!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_a_listing_of_a_sqlite_store_imports_nothing_heavy_besides(tmp_path: Path) -> None:
    printed(tmp_path, "db", "upgrade")
    heavy = {"alembic", "argon2", "redis", "rich.progress", "sqlalchemy.ext.asyncio"}
    program = (
        "import sys; from hello_tornado.cli import main as cli\n"
        "sys.argv = ['x', 'sessions', 'list', '--json']\n"
        f"try: cli.main()\nexcept SystemExit: print(*({heavy!r} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"sessions": [], "after": None}
