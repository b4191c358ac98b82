"""What never passes by waiting is told with its cure: at the start, in `db check`, by /readyz and
in the log; and when it is set right, nothing has to be restarted."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from administrators import Mariadb
from every_store import SQL_SERVERS, UrlOf
from running import Server, run_command, running_server
from services import free_port, mariadb_node
from sqlalchemy import make_url

from hello_tornado.database import migrate

RECOVERED_SECONDS = 10
NOT_OURS = "name another database in store.url"
NO_TABLE = "db upgrade; if that changes nothing, restore a backup"
NO_DATABASE = "create the database, or name another one"
STATEMENT = "set binlog_format to ROW or MIXED"


@pytest.fixture(params=SQL_SERVERS)
def url(request: pytest.FixtureRequest, empty_url_of: UrlOf) -> str:
    return empty_url_of(request.param)


def execute(url: str, statement: str) -> None:
    plain = url.replace("+asyncpg", "")
    if plain.startswith("mariadb"):
        with Mariadb(plain).connected() as cursor:
            cursor.execute(statement)
    else:
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(statement)


def tells(directory: Path, url: str, cure: str, *arguments: str) -> str:
    """What a command says of the cause, which has this cure."""
    done = run_command(directory, *arguments, HELLO_TORNADO_STORE__URL=url)
    assert done.returncode in {2, 3}, done.stderr
    assert "Traceback" not in done.stderr
    assert cure in " ".join(done.stderr.split())
    return done.stderr


def at_the_start_and_in_db_check(directory: Path, url: str, cure: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        serving = pool.submit(tells, directory, url, cure, "serve", "--port", "0")
        checking = pool.submit(tells, directory, url, cure, "db", "check")
        serving.result()
        checking.result()


def test_there_is_no_schema(url: str, tmp_path: Path) -> None:
    at_the_start_and_in_db_check(tmp_path, url, "run: python -m hello_tornado db upgrade")


def test_there_is_no_such_database(url: str, tmp_path: Path) -> None:
    other = make_url(url).set(database="nowhere").render_as_string(hide_password=False)
    at_the_start_and_in_db_check(tmp_path, other, NO_DATABASE)


def test_there_is_another_table_of_that_name(url: str, tmp_path: Path) -> None:
    execute(url, "CREATE TABLE sessions (id INTEGER)")
    at_the_start_and_in_db_check(tmp_path, url, NOT_OURS)
    tells(tmp_path, url, NOT_OURS, "db", "upgrade")
    execute(url, "DROP TABLE sessions")
    migrate.upgrade(url)
    execute(url, "DROP TABLE sessions")
    execute(url, "CREATE TABLE sessions (id INTEGER)")
    at_the_start_and_in_db_check(tmp_path, url, NOT_OURS)


def test_there_is_an_option_that_the_driver_does_not_know(url: str, tmp_path: Path) -> None:
    at_the_start_and_in_db_check(tmp_path, f"{url}?colour=red", "take the option out of store.url")


def test_sqlite_has_no_other_option_and_takes_no_other_table(tmp_path: Path) -> None:
    text = tells(tmp_path, "sqlite:///s.db?colour=red", "", "serve", "--port", "0")
    assert "no option colour; it has create, table and timeout" in text
    url = f"sqlite:///{tmp_path}/s.db"
    with migrate.connected(url) as connection:
        connection.exec_driver_sql("CREATE TABLE sessions (id INTEGER)")
    at_the_start_and_in_db_check(tmp_path, url, NOT_OURS)


def test_no_sentinel_is_there(tmp_path: Path) -> None:
    url = f"redis+sentinel://127.0.0.1:{free_port()}/service/0"
    told = tells(tmp_path, url, "start the sentinels, or set their hosts", "sessions", "stats")
    assert told.startswith(
        "error: the session store failed: no sentinel that answers knows the master 'service'\n"
    )


def test_redis_has_no_such_database(redis_url: str, tmp_path: Path) -> None:
    tells(tmp_path, redis_url.replace("/0?", "/99?"), "redis://host", "serve", "--port", "0")


def readiness(server: Server, status: int) -> dict[str, str]:
    """What /readyz says, as soon as it has this status."""
    deadline = time.monotonic() + RECOVERED_SECONDS
    while True:
        found, _, body = server.request("GET", "/readyz")
        if found == status:
            said: dict[str, str] = json.loads(body)
            return said
        assert time.monotonic() < deadline, (found, body, server.text)
        time.sleep(0.05)


def while_it_serves(server: Server, cookie: str, url: str, cure: str) -> None:
    """What /readyz, the log and a request say while something is wrong."""
    said = readiness(server, 503)
    assert cure in said["cure"]
    assert server.request("GET", "/", cookie=cookie)[0] == 500
    server.wait_for(f"ERROR hello_tornado.server: /readyz: not ready: .*{cure}")
    server.wait_for("StoreMisconfigured: the session store failed")
    for _ in range(3):
        readiness(server, 503)
    password = str(make_url(url).password)
    assert server.text.count("/readyz: not ready") == 1, "told once, and not for each probe"
    assert password not in server.text


def test_a_table_that_goes_away_under_a_server_and_comes_back(url: str, tmp_path: Path) -> None:
    migrate.upgrade(url)
    with running_server(tmp_path, HELLO_TORNADO_STORE__URL=url) as server:
        cookie = server.log_in("Ada")
        assert readiness(server, 200) == {"status": "ok"}
        execute(url, "ALTER TABLE sessions RENAME TO elsewhere")
        while_it_serves(server, cookie, url, NO_TABLE)
        execute(url, "ALTER TABLE elsewhere RENAME TO sessions")
        assert readiness(server, 200) == {"status": "ok"}
        assert "Hello Ada" in server.request("GET", "/", cookie=cookie)[2]
        server.wait_for("/readyz: ready again")


@pytest.fixture(scope="module")
def replicating_statements() -> Iterator[str]:
    """A MariaDB that was started with binlog_format=STATEMENT; yields the URL of its database."""
    with mariadb_node("--log-bin=bin", "--server-id=1", "--binlog-format=STATEMENT") as server:
        url = server.render_as_string(hide_password=False)
        execute(url, "CREATE DATABASE sessions")
        yield server.set(database="sessions").render_as_string(hide_password=False)


def test_a_mariadb_that_replicates_statements(replicating_statements: str, tmp_path: Path) -> None:
    url = replicating_statements
    at_the_start_and_in_db_check(tmp_path, url, STATEMENT)
    tells(tmp_path, url, STATEMENT, "db", "upgrade")
    tells(tmp_path, url, STATEMENT, "config", "check")
    execute(url, "SET GLOBAL binlog_format = 'ROW'")
    migrate.upgrade(url)
    with running_server(tmp_path, HELLO_TORNADO_STORE__URL=url) as server:
        cookie = server.log_in("Ada")
        execute(url, "SET GLOBAL binlog_format = 'STATEMENT'")
        assert server.request("PUT", "/api/session/a", "1", cookie=cookie)[0] == 200, (
            "a connection keeps the format that it was opened with"
        )
        Mariadb(url).kill_connections()
        while_it_serves(server, cookie, url, STATEMENT)
        execute(url, "SET GLOBAL binlog_format = 'MIXED'")
        assert readiness(server, 200) == {"status": "ok"}
        assert "Hello Ada" in server.request("GET", "/", cookie=cookie)[2]
    execute(url, "SET GLOBAL binlog_format = 'STATEMENT'")
