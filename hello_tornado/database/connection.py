"""Blocking connections to the server's databases, for upgrades and commands."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from hello_tornado.problem import Problem
from hello_tornado.remedies import cure_of
from hello_tornado.sessions.stores import without_password
from hello_tornado.sessions.stores.schemes import SQL, family_of
from hello_tornado.sessions.stores.sql.schema import FOLDING
from hello_tornado.sessions.stores.sql.sqlite import make_private_file, sqlite_engine
from hello_tornado.sessions.stores.sql.transactions import transaction as atomic
from hello_tornado.sessions.stores.sql.url import Target, blocking_target_of

LOCK = 7_403_117_051  # an arbitrary number, but all upgrades must use the same one
LOCK_SECONDS = 60
CONNECT_SECONDS = 3


def has_schema(url: str) -> bool:
    """Whether the store of this URL is a database with a schema."""
    return family_of(url) in SQL


@contextmanager
def transaction(url: str) -> Iterator[Connection]:
    """Open a connection that makes other upgrades wait until this one has ended.

    SQLite and PostgreSQL roll back the whole upgrade when it fails. MariaDB commits each change of
    the schema by itself, so every step of a migration can be repeated.

    Raises `Problem` as `connected` does, and when another upgrade takes longer than a minute.
    """
    with connected(url) as connection, _alone(connection):
        yield connection


@contextmanager
def connected(url: str, *, to_look: bool = False) -> Iterator[Connection]:
    """Open a connection to the database.

    *to_look* opens a SQLite file for reading only, so that no byte of it changes.

    Raises `Problem` when the URL is not that of a SQL database, and for every error of the driver.
    """
    if not has_schema(url):
        scheme, found, _ = url.partition("://")
        raise Problem(
            f"a {scheme} store has no schema" if found else "store.url is not a URL",
            "db commands are for SQL databases; name one in store.url: sqlite:///var/sessions.db",
        )
    engine = _engine(blocking_target_of(url), to_look=to_look)
    try:
        with _connect(engine, url).execution_options(isolation_level="AUTOCOMMIT") as connection:
            _check_binary_log(connection)
            yield connection
    except (DBAPIError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        first_line = str(cause).strip().partition("\n")[0]
        raise Problem(
            f"the database {without_password(url)} failed: {first_line}", cure_of(first_line)
        ) from error
    finally:
        engine.dispose()


def _engine(target: Target, *, to_look: bool) -> Engine:
    """Create a blocking engine: only the caller waits for an upgrade."""
    if target.url.get_backend_name() == "sqlite" and to_look:
        read_only = f"{Path(str(target.url.database)).absolute().as_uri()}?mode=ro"
        return create_engine(
            "sqlite://", poolclass=NullPool, creator=lambda: sqlite3.connect(read_only, uri=True)
        )
    if target.url.get_backend_name() == "sqlite":
        make_private_file(Path(str(target.url.database)))
        return sqlite_engine(target.url)
    arguments = {"connect_timeout": CONNECT_SECONDS, **target.arguments}
    return create_engine(
        target.url, poolclass=NullPool, connect_args=arguments, hide_parameters=True
    )


def _connect(engine: Engine, url: str) -> Connection:
    try:
        return engine.connect()
    except (TypeError, ValueError) as error:  # an option that the driver does not know
        raise Problem(
            f"the database {without_password(url)} failed: {error}", cure_of(error)
        ) from error


def _check_binary_log(connection: Connection) -> None:
    """Raise `Problem` if MariaDB replicates statements: it refuses writes in READ COMMITTED."""
    if connection.dialect.name not in FOLDING:
        return
    query = "SELECT @@log_bin, @@binlog_format"
    has_log, log_format = connection.exec_driver_sql(query).one()
    if has_log and log_format == "STATEMENT":
        cause = "the server's binlog_format is STATEMENT, which allows no writes in READ COMMITTED"
        raise Problem(cause, cure_of(cause))


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    match connection.dialect.name:
        case "sqlite":
            with atomic(connection):
                yield
        case "postgresql":
            with atomic(connection):
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")
                yield
        case _:
            lock = f"SELECT GET_LOCK('{LOCK}', {LOCK_SECONDS})"
            if connection.exec_driver_sql(lock).scalar() != 1:
                raise Problem(
                    f"another upgrade has been running for {LOCK_SECONDS} seconds",
                    "wait until it has ended, then try again",
                )
            yield  # the server releases the lock when the connection is closed
