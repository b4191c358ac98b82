"""Redis by the name that a sentinel has for it; when the master dies, its replica is the master."""

from collections.abc import Sequence
from pathlib import Path

from redis import Redis, RedisError

from bench.faults.databases import Fronted, Server, give, program
from bench.faults.redis_server import RedisServer, wait_for

SERVICE = "sessions"


class Sentinel(Server):
    """The sentinel that watches over the master at a port."""

    name = "the sentinel"
    user = "redis"

    def __init__(self, directory: Path, master: int) -> None:
        super().__init__(directory)
        directory.mkdir()
        lines = [
            *(f"port {self.port}", "bind 127.0.0.1", f"dir {directory}"),
            f"sentinel monitor {SERVICE} 127.0.0.1 {master} 1",
            f"sentinel down-after-milliseconds {SERVICE} 500",
            f"sentinel failover-timeout {SERVICE} 3000",
        ]
        (directory / "sentinel.conf").write_text("\n".join(lines) + "\n")
        give(directory, self.user)
        self.replicas = 0

    def command(self) -> list[str]:
        return [str(program("redis-server")), "sentinel.conf", "--sentinel"]

    def is_ready(self) -> bool:
        """Whether it answers, and knows the replicas that can take over."""
        try:
            with Redis(port=self.port) as sentinel:
                known = sentinel.execute_command("SENTINEL", "REPLICAS", SERVICE)
        except RedisError:
            return False
        return len(known) == self.replicas


class WatchedRedis(Fronted, RedisServer):
    """A master that clients ask a sentinel for. To Redis itself they go without a network."""

    name = "Redis Sentinel"
    front: Sentinel

    def url(self, port: int) -> str:
        return f"redis+sentinel://127.0.0.1:{port}/{SERVICE}/0"

    def create(self) -> None:
        super().create()
        self.front = Sentinel(self.directory / "sentinel", self.port)
        self.front.launch()

    def connections(self, _pids: Sequence[int]) -> int:
        """How many connections the application has to the master."""
        master = self.twin if self.has_failed_over else self
        assert isinstance(master, RedisServer)
        return sum(not name.startswith("sentinel-") for name in master.clients())

    def make_twin(self) -> None:
        super().make_twin()
        self.front.replicas = 1
        self.front.wait_until_ready()

    def fail_over(self) -> None:
        """Kill the master, when the twin has all that was acknowledged."""
        assert isinstance(self.twin, RedisServer)
        self.hold_writes_until_replicated()
        self.kill()
        wait_for(self.twin, role="master")
        self.has_failed_over = True
