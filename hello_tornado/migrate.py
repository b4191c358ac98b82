"""The database's schema: which one it has, which one this code needs, and the way between."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from hello_tornado.problem import Problem
from hello_tornado.resources import resource
from hello_tornado.sessions.stores.sql import metadata, sessions
from hello_tornado.sessions.stores.sqlite import begin_immediate, make_private_file, sqlite_engine

VERSION_TABLE = "hello_tornado_alembic_version"
LOCK = 7_403_117_051  # any number, as long as every upgrade takes the same
LOCK_SECONDS = 60
CONNECT_SECONDS = 3
CHECK_SERVER = "check the address, the name and the password, and that the server runs"
CURES = {
    "sqlite": (
        "check that the file is a SQLite database, and that you may write it and its directory"
    ),
    "postgresql": CHECK_SERVER,
    "mysql": CHECK_SERVER,
    "mariadb": CHECK_SERVER,
}


@dataclass(frozen=True, slots=True)
class Schema:
    """Where a database stands: its revision, ours, and whether we know its revision at all."""

    current: str | None
    head: str
    is_known: bool

    @property
    def is_current(self) -> bool:
        """Whether this code can serve on it."""
        return self.current == self.head

    def check(self) -> None:
        """Raise `Problem`, naming the command, unless this code can serve on it."""
        if self.is_current:
            return
        if not self.is_known:
            raise Problem(
                f"the database has the schema {self.current}, which is newer than this program's "
                f"{self.head}",
                "start the newer program, or restore the backup from before its upgrade",
            )
        raise Problem(
            f"the database has {f'the schema {self.current}' if self.current else 'no schema'}, "
            f"this program needs {self.head}",
            "run: python -m hello_tornado db upgrade",
        )


def has_schema(url: str) -> bool:
    """Whether the store of this URL is a database with a schema."""
    return _kind(_parsed(url)) in CURES


def state(url: str) -> Schema:
    """Where the database stands; looking changes nothing, and makes no file."""
    parsed = _parsed(url)
    if _kind(parsed) == "sqlite" and not Path(str(parsed.database)).exists():
        return Schema(None, _head(), is_known=True)
    with connected(url) as connection:
        return _state(connection)


def upgrade(url: str, revision: str = "head") -> Path | None:
    """Bring the schema up to *revision*; returns the backup, if there was data to back up.

    Tables that the library has made by itself, or that an upgrade has left half-made, are taken
    over: every step of a migration can be repeated.
    """
    with transaction(url) as connection:
        before = _state(connection)
        if before.current == revision or (revision == "head" and before.is_current):
            return None
        if not before.is_known:
            before.check()
        if before.current is None:
            _check_ours(connection)
        backup = _back_up(connection, before.current)
        _run(command.upgrade, connection, revision)
        return backup


def downgrade(url: str, revision: str) -> Path | None:
    """Take the schema back to *revision* ("base": no tables at all); returns the backup."""
    with transaction(url) as connection:
        before = _state(connection)
        if not before.is_known:
            before.check()
        backup = _back_up(connection, before.current)
        _run(command.downgrade, connection, revision)
        return backup


def differences(url: str) -> list[Any]:
    """In what the database's tables differ from the ones that the code describes."""
    with connected(url) as connection:
        return list(compare_metadata(_migration_context(connection), metadata))


def run_migrations(connection: Connection) -> None:
    """Called by migrations/env.py inside Alembic."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


@contextmanager
def transaction(url: str) -> Iterator[Connection]:
    """A connection that keeps other upgrades out until all of this one is done.

    SQLite and PostgreSQL take it back as a whole when it fails. MariaDB commits each change of the
    schema by itself; there every step of a migration can be repeated.
    """
    with connected(url) as connection, _alone(connection):
        yield connection


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection to the database; what goes wrong on it is a `Problem`."""
    target = _parsed(url)
    if not has_schema(url):
        raise Problem(
            f"a {target.get_backend_name()} store has no schema",
            "db commands are for SQL databases; name one in store.url",
        )
    engine = _engine(target)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield connection
    except (DBAPIError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        first_line = str(cause).strip().partition("\n")[0]
        raise Problem(
            f"the database {shown(target)} failed: {first_line}", CURES[_kind(target)]
        ) from error
    finally:
        engine.dispose()


def _engine(url: URL) -> Engine:
    """A synchronous engine: there is nobody to wait for an upgrade but its caller."""
    kind = _kind(url)
    if kind == "sqlite":
        make_private_file(Path(str(url.database)))
        return sqlite_engine(url)
    driver = {"postgresql": "postgresql+psycopg"}.get(kind, "mysql+pymysql")
    arguments = {"connect_timeout": CONNECT_SECONDS}
    return create_engine(url.set(drivername=driver), poolclass=NullPool, connect_args=arguments)


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    match connection.dialect.name:
        case "sqlite":
            with begin_immediate(connection):
                yield
        case "postgresql":
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
            try:
                yield
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
        case _:
            lock = f"SELECT GET_LOCK('{VERSION_TABLE}', {LOCK_SECONDS})"
            if connection.exec_driver_sql(lock).scalar() != 1:
                raise Problem(
                    f"another upgrade has been at work for {LOCK_SECONDS} seconds",
                    "wait until it has ended, then try again",
                )
            yield  # the lock goes with the connection


def _kind(url: URL) -> str:
    return url.get_backend_name()


def shown(url: str | URL) -> str:
    """A URL as it may be shown: without its password."""
    return (url if isinstance(url, URL) else _parsed(url)).render_as_string(hide_password=True)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise Problem(
            "store.url is no URL", "write it as sqlite:///var/sessions.db, or memory://"
        ) from None
    if _kind(parsed) == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise Problem(
            "a sqlite store needs a file",
            "write it as sqlite:///var/sessions.db; memory:// ends with the process",
        )
    return parsed


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(resource("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _migration_context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE, "compare_type": True}
    )


def _state(connection: Connection) -> Schema:
    scripts = _scripts()
    current = _migration_context(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    return Schema(current, _head(), current is None or current in known)


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(resource("migrations")))


def _head() -> str:
    return str(_scripts().get_current_head())


def _run(operation: Callable[[Config, str], None], connection: Connection, revision: str) -> None:
    try:
        operation(_config(connection), revision)
    except CommandError as error:
        raise Problem(
            f"Alembic refuses: {error}",
            "name a revision of the schema; this program knows "
            + ", ".join(reversed([script.revision for script in _scripts().walk_revisions()])),
        ) from error


def _check_ours(connection: Connection) -> None:
    if not inspect(connection).has_table(sessions.name):
        return
    found = compare_metadata(_migration_context(connection), metadata)
    if foreign := [change for change in found if change[0] != "add_index"]:
        raise Problem(
            f"there is a table {sessions.name} that is not ours: {foreign[0]}",
            "name another database in store.url",
        )


def _back_up(connection: Connection, current: str | None) -> Path | None:
    """A copy of a SQLite file beside it, when it holds sessions."""
    if connection.dialect.name != "sqlite" or not inspect(connection).has_table(sessions.name):
        return None
    if connection.execute(text("SELECT 1 FROM sessions LIMIT 1")).first() is None:
        return None
    source, version = Path(str(connection.engine.url.database)), current or "unversioned"
    backup = next(
        path
        for number in count(1)
        if not (path := source.with_name(f"{source.name}.{version}.backup{number}")).exists()
    )
    make_private_file(backup)
    with sqlite3.connect(source) as reading, sqlite3.connect(backup) as writing:
        reading.backup(writing)
    reading.close()
    writing.close()
    return backup
