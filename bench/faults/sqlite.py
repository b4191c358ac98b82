"""SQLite, as an administrator handles it: a file, and whoever else opens it."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from bench.faults.databases import Database

BESIDE = ("-wal", "-shm")
WAITING_SECONDS = 0.3  # in which writes come and wait: they would go into the file without a name


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

    def move_away(self) -> None:
        """The file and its log get another name; whoever has them open still has them."""
        for name in ("", *BESIDE):
            self._path.with_name(f"{self._path.name}{name}").rename(self._elsewhere(name))

    def put_back(self) -> None:
        """Undo that; the file comes last, when its log is there again."""
        for name in (*BESIDE, ""):
            self._elsewhere(name).rename(self._path.with_name(f"{self._path.name}{name}"))

    def _elsewhere(self, name: str) -> Path:
        return self.directory / f"elsewhere.db{name}"

    def restore_a_backup(self) -> None:
        """A copy of the file takes its place; nothing is written between copying and replacing."""
        copy = self._elsewhere("")
        with self.locked(), closing(sqlite3.connect(copy)) as writing:
            with closing(sqlite3.connect(self._path)) as reading:
                reading.backup(writing)
            writing.execute("PRAGMA journal_mode = WAL")
            time.sleep(WAITING_SECONDS)
            for name in BESIDE:
                self._path.with_name(f"{self._path.name}{name}").unlink()
            copy.rename(self._path)


def _leads_to(file: Path) -> str:
    try:
        return str(file.readlink())
    except FileNotFoundError:  # closed meanwhile
        return ""
