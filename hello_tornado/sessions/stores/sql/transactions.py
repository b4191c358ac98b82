"""A transaction on a connection that is otherwise in AUTOCOMMIT."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

BEGIN = {
    # SQLite's plain BEGIN would meet a lock only at the first write.
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "BEGIN ISOLATION LEVEL READ COMMITTED",
}


class RollbackFailed(Exception):
    """A transaction failed for this *reason*, and could not be taken back either."""

    def __init__(self, reason: Exception) -> None:
        super().__init__("a transaction could not be taken back")
        self.reason = reason


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit what is done within as a whole, or nothing of it."""
    connection.exec_driver_sql(BEGIN.get(connection.dialect.name, "BEGIN"))
    try:
        yield
    except Exception as error:
        try:
            connection.exec_driver_sql("ROLLBACK")
        except Exception:  # noqa: BLE001 - the first error says what happened
            raise RollbackFailed(error) from None
        raise
    connection.exec_driver_sql("COMMIT")
