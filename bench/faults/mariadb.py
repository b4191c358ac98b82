"""MariaDB, as an administrator handles it."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql

from bench.faults.databases import ServerDatabase, give, program, run

INIT = """
CREATE USER IF NOT EXISTS admin@'127.0.0.1';
GRANT ALL ON *.* TO admin@'127.0.0.1' WITH GRANT OPTION;
CREATE USER IF NOT EXISTS app@'127.0.0.1';
GRANT ALL ON app.* TO app@'127.0.0.1';
CREATE USER IF NOT EXISTS crowd@'127.0.0.1';
CREATE DATABASE IF NOT EXISTS app;
"""
MINE = "SELECT count(*) FROM information_schema.processlist WHERE user = 'app'"
MOST_TRIES = 100
FEW_CONNECTIONS, MANY_CONNECTIONS = 10, 100  # fewer than ten cannot be set


class Mariadb(ServerDatabase):
    """A MariaDB server."""

    name = "MariaDB"
    user = "mysql"

    def url(self, port: int) -> str:
        return f"mariadb://app@127.0.0.1:{port}/app"

    def create(self) -> None:
        (self.directory / "init.sql").write_text(INIT)
        give(self.directory, self.user)
        install = program("mariadb-install-db", Path("/usr/bin"))
        run([install, "--no-defaults", f"--datadir={self._data}", "--skip-test-db"], self.user)
        self.launch()

    def command(self) -> list[str]:
        mariadbd = program("mariadbd", Path("/usr/sbin"), Path("/usr/bin"))
        options = [
            "--no-defaults",
            f"--datadir={self._data}",
            f"--port={self.port}",
            f"--socket={self.directory}/socket",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            f"--init-file={self.directory}/init.sql",
            "--innodb-log-file-size=16M",
            f"--max-connections={MANY_CONNECTIONS}",
        ]
        if self.twin is not None:
            options += ["--log-bin=bin", "--server-id=1"]
        if self.directory.name == "twin":
            options += ["--server-id=2", "--read-only"]
        return [str(mariadbd), *options]

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def is_ready(self) -> bool:
        try:
            self.ask("SELECT 1")
        except pymysql.Error:
            return False
        return True

    def ask(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        """The rows of a statement of the administrator's."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def _connect(self, user: str = "admin") -> Any:
        return pymysql.connect(host="127.0.0.1", port=self.port, user=user, autocommit=True)

    def connections(self, _pids: Sequence[int]) -> int:
        ((here,),) = self.ask(MINE)
        return int(here) + (self.twin.connections([]) if self.twin else 0)

    def end_connections(self) -> None:
        self.ask("KILL USER app")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody else has the table."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute("LOCK TABLES app.sessions WRITE")
            yield
            cursor.execute("UNLOCK TABLES")

    @contextmanager
    def row_held(self) -> Iterator[None]:
        """Somebody else has the row of one session that is in use."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT `key` FROM app.sessions "
                "WHERE user_id IS NOT NULL ORDER BY created_at DESC LIMIT 1"
            )
            key = cursor.fetchone()
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 FROM app.sessions WHERE `key` = %s FOR UPDATE", key)
            yield
            cursor.execute("ROLLBACK")

    @contextmanager
    def out_of_connections(self) -> Iterator[None]:
        """The application's connections are gone, and others have all that there are."""
        with ExitStack() as stack:
            admin = stack.enter_context(self._connect()).cursor()
            admin.execute(f"SET GLOBAL max_connections = {FEW_CONNECTIONS}")
            for _ in range(MOST_TRIES):
                with suppress(pymysql.err.OperationalError):
                    while True:
                        stack.enter_context(self._connect("crowd"))
                admin.execute(MINE)
                if admin.fetchone() == (0,):
                    break
                admin.execute("KILL USER app")
            yield
            admin.execute(f"SET GLOBAL max_connections = {MANY_CONNECTIONS}")

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Users who are no administrators may not write."""
        self.ask("SET GLOBAL read_only = 1")
        try:
            yield
        finally:
            self.ask("SET GLOBAL read_only = 0")

    def make_twin(self) -> None:
        self.shut_down()
        self.twin = type(self)(self.directory / "twin")
        shutil.copytree(self._data, self.twin.directory / "data")
        shutil.copy(self.directory / "init.sql", self.twin.directory)
        give(self.twin.directory, self.user)
        self.launch()
        self.twin.launch()
        self.twin.ask(
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={self.port}, "
            "MASTER_USER='admin', MASTER_LOG_FILE='bin.000001', MASTER_LOG_POS=4"
        )
        self.twin.ask("START SLAVE")

    def fail_over(self) -> None:
        assert isinstance(self.twin, Mariadb)
        self.ask("SET GLOBAL read_only = 1")
        ((file, position, *_),) = self.ask("SHOW MASTER STATUS")
        ((events,),) = self.twin.ask(f"SELECT MASTER_POS_WAIT('{file}', {position}, 10)")
        if events is None or events < 0:
            raise RuntimeError("MariaDB's twin did not get everything")
        self.twin.ask("STOP SLAVE")
        self.twin.ask("SET GLOBAL read_only = 0")
        self.has_failed_over = True
