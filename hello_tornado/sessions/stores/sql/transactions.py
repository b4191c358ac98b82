"""A transaction on a connection that is otherwise in AUTOCOMMIT."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

BEGIN = {
    # After a plain BEGIN, SQLite would wait for a lock only at the first write.
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "BEGIN ISOLATION LEVEL READ COMMITTED",
}


class RollbackFailed(Exception):
    """A transaction failed because of *reason*, and its rollback failed, too."""

    def __init__(self, reason: Exception) -> None:
        super().__init__("a transaction could not be rolled back")
        self.reason = reason


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Run the block in a transaction: commit it, or roll back if it raises."""
    connection.exec_driver_sql(BEGIN.get(connection.dialect.name, "BEGIN"))
    try:
        yield
    except Exception as error:
        try:
            connection.exec_driver_sql("ROLLBACK")
        except Exception:  # noqa: BLE001 - the first error is the reason
            raise RollbackFailed(error) from None
        raise
    connection.exec_driver_sql("COMMIT")
