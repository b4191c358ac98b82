"""PostgreSQL behind PgBouncer in transaction mode, with fewer server processes than clients."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from bench.faults.databases import Fronted, Server, give, program
from bench.faults.postgresql import Postgresql

SERVER_PROCESSES = 3  # for six clients
LIMITS = ("lock_timeout = '700ms'", "statement_timeout = '3s'")  # a pooler keeps none of ours


class PgBouncer(Server):
    """The pooler of the server at the port *behind*."""

    name = "PgBouncer"
    user = "postgres"

    def __init__(self, directory: Path, behind: int) -> None:
        super().__init__(directory)
        directory.mkdir()
        (directory / "users").write_text('"app" ""\n"admin" ""\n')
        lines = [
            "[databases]",
            f"* = host=127.0.0.1 port={behind}",
            "[pgbouncer]",
            *("listen_addr = 127.0.0.1", f"listen_port = {self.port}", "unix_socket_dir ="),
            *("auth_type = trust", "auth_file = users", "admin_users = admin"),
            *("pool_mode = transaction", f"default_pool_size = {SERVER_PROCESSES}"),
            "server_login_retry = 1",
        ]
        (directory / "settings.ini").write_text("\n".join(lines))
        give(directory, self.user)

    def command(self) -> list[str]:
        return [str(program("pgbouncer", Path("/usr/sbin"))), "settings.ini"]

    def is_ready(self) -> bool:
        try:
            self.ask("SHOW VERSION")
        except psycopg.Error:
            return False
        return True

    def ask(self, command: str) -> list[dict[str, Any]]:
        """The answer to a command of the administrator's."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="admin", dbname="pgbouncer", autocommit=True
        ) as connection:
            return connection.cursor(row_factory=dict_row).execute(command).fetchall()


class PooledPostgresql(Fronted, Postgresql):
    """A PostgreSQL server whose clients go to a pooler."""

    name = "PostgreSQL, PgBouncer"
    front: PgBouncer

    def create(self) -> None:
        super().create()
        for limit in LIMITS:
            self.ask(f"ALTER ROLE app SET {limit}", database="postgres")
        self.front = PgBouncer(self.directory / "pooler", self.port)
        self.front.launch()

    def connections(self, _pids: Sequence[int]) -> int:
        """How many clients the pooler has."""
        return sum(client["user"] == "app" for client in self.front.ask("SHOW CLIENTS"))
