"""A transaction on a connection that is otherwise in AUTOCOMMIT."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

BEGIN = {
    # SQLite's plain BEGIN would meet a lock only at the first write.
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "BEGIN ISOLATION LEVEL READ COMMITTED",
}


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit what is done within as a whole, or nothing of it."""
    connection.exec_driver_sql(BEGIN.get(connection.dialect.name, "BEGIN"))
    try:
        yield
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")
