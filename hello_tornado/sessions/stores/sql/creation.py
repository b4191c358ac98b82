"""Creation of missing tables by a store, by one process at a time."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, MetaData, func, inspect, select, text
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, InternalError
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from hello_tornado.sessions.errors import StoreMisconfigured
from hello_tornado.sessions.stores.failures import TakenBack, failed
from hello_tornado.sessions.stores.sql.errors import judge
from hello_tornado.sessions.stores.sql.names import digest_of
from hello_tornado.sessions.stores.sql.schema import FOLDING
from hello_tornado.sessions.stores.sql.transactions import transaction

LOCK: Final = 0x5E551045  # any number that is the same in all processes
LOCK_SECONDS: Final = 2
MISSING: Final = re.compile(
    r"(?<!of )relation \".*\" does not exist|table .* doesn't exist|no such table", re.IGNORECASE
)


def make_missing(connection: Connection, metadata: MetaData) -> None:
    """Create the missing tables of *metadata*, on a connection in AUTOCOMMIT.

    Raises `StoreMisconfigured` if the database user may not create tables. Its message contains the
    statements that an administrator can run.
    """
    try:
        if is_missing(connection, metadata):
            with _one_at_a_time(connection, metadata):
                make(connection, metadata)
    except InternalError as error:
        # While one node of a Galera cluster creates a table, another node may send an incomplete
        # description of it, which the driver cannot read.
        raise failed(TakenBack, "another node is creating the table", error) from error
    except DBAPIError as error:
        judged = judge(error)
        if not isinstance(judged, StoreMisconfigured):
            raise
        raise failed(
            StoreMisconfigured,
            f"{error.orig}. Allow this user to create tables, or add create=false to the URL and "
            "run: "
            f"{statements(metadata, connection.dialect)}",
            None,
        ) from error


def is_missing(connection: Connection, metadata: MetaData) -> bool:
    """Whether a table is missing, or on MariaDB an index, because it commits each separately."""
    inspector = inspect(connection)
    for table in metadata.sorted_tables:
        if not inspector.has_table(table.name, schema=table.schema):
            return True
        if connection.dialect.name in FOLDING:
            indexes = inspector.get_indexes(table.name, schema=table.schema)
            found = {index["name"] for index in indexes}
            if not {index.name for index in table.indexes} <= found:
                return True
    return False


def make(connection: Connection, metadata: MetaData) -> None:
    """Create missing tables and indexes."""
    for table in metadata.sorted_tables:
        table.create(connection, checkfirst=True)
        for index in table.indexes:
            index.create(connection, checkfirst=True)


def told_how(error: Exception, metadata: MetaData, dialect: Dialect) -> Exception:
    """Return *error*; if it says that a table is missing, add the statements that create it."""
    if not isinstance(error, StoreMisconfigured) or MISSING.search(str(error)) is None:
        return error
    told = StoreMisconfigured(f"{error}; create it with: {statements(metadata, dialect)}")
    told.__cause__ = error.__cause__
    return told


def statements(metadata: MetaData, dialect: Dialect) -> str:
    """Return the statements that create the tables of *metadata*, in one line."""
    made: list[ExecutableDDLElement] = []
    for table in metadata.sorted_tables:
        made += [CreateTable(table), *map(CreateIndex, sorted(table.indexes, key=str))]
    texts = [str(one.compile(dialect=dialect)) for one in made]
    return " ".join(f"{' '.join(one.split())};" for one in texts)


@contextmanager
def _one_at_a_time(connection: Connection, metadata: MetaData) -> Iterator[None]:
    match connection.dialect.name:
        case "sqlite":  # it has one writer at a time
            with transaction(connection):
                yield
        case "postgresql":
            with transaction(connection):
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
                yield
        case _:
            digest = digest_of(metadata.sorted_tables[0], connection.dialect)
            lock = func.concat(f"{LOCK} ", digest)
            connection.execute(select(func.get_lock(lock, LOCK_SECONDS)))
            yield  # after an error the connection is closed, which releases the lock
            connection.execute(select(func.release_lock(lock)))
