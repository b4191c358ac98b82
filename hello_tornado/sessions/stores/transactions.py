"""A transaction on a connection that is otherwise in AUTOCOMMIT."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

BEGIN = {
    # SQLite's plain BEGIN would meet a lock only at the first write.
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "BEGIN ISOLATION LEVEL READ COMMITTED",
}
READ_COMMITTED = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit what is done within as a whole, or nothing of it."""
    dialect = connection.dialect.name
    if dialect not in BEGIN:
        connection.exec_driver_sql(READ_COMMITTED)
    connection.exec_driver_sql(BEGIN.get(dialect, "BEGIN"))
    try:
        yield
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise
    connection.exec_driver_sql("COMMIT")
