"""PostgreSQL, as an administrator handles it."""

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bench.faults.databases import ServerDatabase, give, program, run

WAIT_SECONDS = 10
MINE = "FROM pg_stat_activity WHERE usename = 'app'"


class Postgresql(ServerDatabase):
    """A PostgreSQL server; `driver` is what the store's URL says."""

    name = "PostgreSQL"
    user = "postgres"
    stop_signal = signal.SIGINT
    driver = "postgresql"

    def url(self, port: int) -> str:
        return f"{self.driver}://app@127.0.0.1:{port}/app"

    def create(self) -> None:
        give(self.directory, self.user)
        initdb = program("initdb", *Path("/usr/lib/postgresql").glob("*/bin"))
        run([initdb, "-D", self._data, "-U", "admin", "-A", "trust", "-E", "UTF8"], self.user)
        self.launch()
        self.ask("CREATE ROLE app LOGIN", database="postgres")
        self.ask("CREATE DATABASE app OWNER app", database="postgres")

    def command(self) -> list[str]:
        place = ["-k", str(self.directory), "-h", "127.0.0.1", "-p", str(self.port)]
        settings = ["max_connections=60", "max_wal_size=64MB", "min_wal_size=32MB"]
        if self.twin is not None and not self.has_failed_over:
            settings.append("synchronous_standby_names=*")
        options = [part for setting in settings for part in ("-c", setting)]
        postgres = program("postgres", *Path("/usr/lib/postgresql").glob("*/bin"))
        return [str(postgres), "-D", str(self._data), *place, *options]

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def is_ready(self) -> bool:
        try:
            self.ask("SELECT 1", database="postgres")
        except psycopg.Error:
            return False
        return True

    def ask(self, statement: str, *, database: str = "app") -> list[tuple[Any, ...]]:
        """The rows of a statement of the administrator's."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="admin", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def connections(self, _pids: Sequence[int]) -> int:
        here = int(self.ask(f"SELECT count(*) {MINE}")[0][0])
        return here + (self.twin.connections([]) if self.twin else 0)

    def end_connections(self) -> None:
        self.ask(f"SELECT pg_terminate_backend(pid) {MINE}")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody else has the table."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="admin", dbname="app"
        ) as connection:
            connection.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
            yield
            connection.rollback()

    @contextmanager
    def row_held(self) -> Iterator[None]:
        """Somebody else has the row of one session that is in use."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="admin", dbname="app"
        ) as connection:
            connection.execute(
                "SELECT 1 FROM sessions WHERE key = (SELECT key FROM sessions "
                "WHERE user_id IS NOT NULL ORDER BY created_at DESC LIMIT 1) FOR UPDATE"
            )
            yield
            connection.rollback()

    @contextmanager
    def out_of_connections(self) -> Iterator[None]:
        """The application's connections are gone, and it gets no other."""
        self.ask("ALTER DATABASE app CONNECTION LIMIT 0")
        self.end_connections()
        try:
            yield
        finally:
            self.ask("ALTER DATABASE app CONNECTION LIMIT -1")

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """New transactions may not write."""
        self._set("default_transaction_read_only", "on")
        try:
            yield
        finally:
            self._set("default_transaction_read_only", "off")

    @contextmanager
    def out_of_memory(self) -> Iterator[None]:
        """The kernel kills one backend; then the server ends all others and recovers."""
        for (pid,) in self.ask(f"SELECT pid {MINE} LIMIT 1"):
            os.kill(pid, signal.SIGKILL)
        yield
        self._wait_until_ready()

    def make_twin(self) -> None:
        self.shut_down()
        self.twin = type(self)(self.directory / "twin")
        shutil.copytree(self._data, self.twin.directory / "data")
        origin = f"host=127.0.0.1 port={self.port} user=admin"
        with (self.twin.directory / "data" / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{origin}'\n")
        (self.twin.directory / "data" / "standby.signal").touch()
        give(self.twin.directory, self.user)
        self.launch_with_twin()

    def launch_with_twin(self) -> None:
        """Start both; a statement that writes waits for the twin."""
        assert self.twin is not None
        self.launch()
        self.twin.launch()
        self._wait_for("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")

    def fail_over(self) -> None:
        assert isinstance(self.twin, Postgresql)
        self._set("default_transaction_read_only", "on")
        time.sleep(0.2)  # in which the transactions that are under way end
        self._wait_for(
            "SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication"
        )
        self.twin.ask("SELECT pg_promote()")
        self.has_failed_over = True

    def _set(self, setting: str, value: str) -> None:
        self.ask(f"ALTER SYSTEM SET {setting} = {value}")
        self.ask("SELECT pg_reload_conf()")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.is_ready() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _wait_for(self, question: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.ask(question)[0][0]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL never came so far: {question}")
            time.sleep(0.05)


class PostgresqlByAsyncpg(Postgresql):
    """The same with the other driver."""

    name = "PostgreSQL, asyncpg"
    driver = "postgresql+asyncpg"
