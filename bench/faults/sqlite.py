"""SQLite, as an administrator handles it: a file, and whoever else opens it."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bench.faults.databases import Database


class Sqlite(Database):
    """A file."""

    name = "SQLite"
    allowed_connections = 10  # files: the database, its log and its index, three times

    @property
    def _path(self) -> Path:
        return self.directory / "sessions.db"

    def create(self) -> None:
        """The file is made with its tables."""

    def url(self, _port: int) -> str:
        return f"sqlite:///{self._path}"

    def stop(self) -> None:
        """There is no server."""

    def connections(self, pids: Sequence[int]) -> int:
        files = [file for pid in pids for file in Path(f"/proc/{pid}/fd").iterdir()]
        return sum(_leads_to(file).startswith(str(self._path)) for file in files)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Another program has the file's write lock."""
        with closing(sqlite3.connect(self._path, check_same_thread=False)) as connection:
            connection.isolation_level = None
            connection.execute("PRAGMA busy_timeout = 5000")
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")


def _leads_to(file: Path) -> str:
    try:
        return str(file.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""
