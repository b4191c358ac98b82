"""Redis, as an administrator handles it. Every write is on the disk before it is answered."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from redis import Redis, RedisError

from bench.faults.databases import ServerDatabase, give, program

WAIT_SECONDS = 10


class RedisServer(ServerDatabase):
    """A Redis server."""

    name = "Redis"
    user = "redis"

    def url(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}/0"

    def create(self) -> None:
        give(self.directory, self.user)
        self.launch()

    def prepare(self) -> None:
        """There are no tables."""

    def command(self) -> list[str]:
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        return [str(program("redis-server")), *place, *durable]

    def is_ready(self) -> bool:
        try:
            with self._admin() as admin:
                return bool(admin.ping())
        except RedisError:
            return False

    def _admin(self) -> Redis:
        return Redis(port=self.port, client_name="admin", socket_timeout=5)

    def clients(self) -> list[str]:
        """The names of all connections but those of replicas and administrators; most have none."""
        with self._admin() as admin:
            clients = [*admin.client_list("normal"), *admin.client_list("pubsub")]
        return [client["name"] for client in clients if client["name"] != "admin"]

    def connections(self, _pids: Sequence[int]) -> int:
        return len(self.clients()) + (self.twin.connections([]) if self.twin else 0)

    def end_connections(self) -> None:
        with self._admin() as admin:
            _end_others(admin)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Every command that writes has to wait."""
        with self._admin() as admin:
            admin.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
            yield
            admin.execute_command("CLIENT", "UNPAUSE")

    @contextmanager
    def out_of_connections(self) -> Iterator[None]:
        """The application's connections are gone, and it gets no other."""
        with self._admin() as admin:
            admin.config_set("maxclients", 1)
            _end_others(admin)
            try:
                yield
            finally:
                admin.config_set("maxclients", 10_000)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Too few replicas: no write is accepted."""
        with self._set("min-replicas-to-write", "1", "0"):
            yield

    @contextmanager
    def out_of_memory(self) -> Iterator[None]:
        """Its memory is full, and it may evict nothing."""
        with self._set("maxmemory", "1", "0"):
            yield

    @contextmanager
    def _set(self, name: str, value: str, usual: str) -> Iterator[None]:
        with self._admin() as admin:
            admin.config_set(name, value)
        try:
            yield
        finally:
            with self._admin() as admin:
                admin.config_set(name, usual)

    def make_twin(self) -> None:
        self.twin = RedisServer(self.directory / "twin")
        self.twin.directory.mkdir()
        give(self.twin.directory, self.user)
        self.twin.launch()
        with self.twin._admin() as admin:
            admin.replicaof("127.0.0.1", self.port)
        wait_for(self.twin, master_link_status="up")
        wait_for(self, slave0="online")

    def hold_writes_until_replicated(self) -> None:
        """Accept no more writes, and wait until the twin has all that were acknowledged."""
        with self._admin() as admin:
            admin.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
            written = admin.info("replication")["master_repl_offset"]
            deadline = time.monotonic() + WAIT_SECONDS
            while admin.info("replication")["slave0"]["offset"] < written:
                if time.monotonic() > deadline:
                    raise RuntimeError("Redis's twin did not get everything")
                time.sleep(0.01)

    def fail_over(self) -> None:
        assert isinstance(self.twin, RedisServer)
        with self._admin() as admin:
            admin.execute_command("FAILOVER", "TO", "127.0.0.1", self.twin.port, "TIMEOUT", 5000)
        wait_for(self.twin, role="master")
        self.has_failed_over = True


def wait_for(server: RedisServer, **wanted: str) -> None:
    """Wait until these facts of its replication hold."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with server._admin() as admin:
            facts = admin.info("replication")
        if all(value in str(facts.get(name)) for name, value in wanted.items()):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"Redis never came so far: {wanted}")
        time.sleep(0.05)


def _end_others(admin: Redis) -> None:
    for kind in ("normal", "pubsub"):
        admin.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
