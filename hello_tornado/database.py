"""A connection to the session database outside of the event loop, for upgrades and commands."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from hello_tornado.problem import Problem
from hello_tornado.sessions.stores import without_password
from hello_tornado.sessions.stores.sqlite import begin_immediate, make_private_file, sqlite_engine

LOCK = 7_403_117_051  # any number, as long as every upgrade takes the same
LOCK_SECONDS = 60
CONNECT_SECONDS = 3
CHECK_SERVER = "check the address, the name and the password, and that the server runs"
CURES = {
    "postgres": CHECK_SERVER,
    "sqlite": (
        "check that the file is a SQLite database, that you may write it and its directory, "
        "and that no other process keeps it locked"
    ),
    "postgresql": CHECK_SERVER,
    "mysql": CHECK_SERVER,
    "mariadb": CHECK_SERVER,
}


def has_schema(url: str) -> bool:
    """Whether the store of this URL is a database with a schema."""
    return url.partition(":")[0].partition("+")[0] in CURES


def parsed_url(url: str) -> URL:
    """A store's URL in its parts; `Problem` when it is none, or a SQLite one without a file."""
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
    target = parsed_url(url)
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
            f"the database {without_password(url)} failed: {first_line}", CURES[_kind(target)]
        ) from error
    finally:
        engine.dispose()


def _engine(url: URL) -> Engine:
    """A synchronous engine: there is nobody to wait for an upgrade but its caller."""
    kind = _kind(url)
    if kind == "sqlite":
        make_private_file(Path(str(url.database)))
        return sqlite_engine(url)
    driver = "postgresql+psycopg" if kind.startswith("postgres") else "mysql+pymysql"
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
            lock = f"SELECT GET_LOCK('{LOCK}', {LOCK_SECONDS})"
            if connection.exec_driver_sql(lock).scalar() != 1:
                raise Problem(
                    f"another upgrade has been at work for {LOCK_SECONDS} seconds",
                    "wait until it has ended, then try again",
                )
            yield  # the lock goes with the connection


def _kind(url: URL) -> str:
    return url.get_backend_name()
