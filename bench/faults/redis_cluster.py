"""A Redis Cluster of three masters, as an administrator handles it."""

from collections.abc import Sequence
from pathlib import Path

from redis import Redis, RedisError

from bench.faults.databases import Database, give, program, run
from bench.faults.redis_server import RedisServer

MASTERS = 3


class Master(RedisServer):
    """A node of the cluster; before there is one, it only has to answer."""

    name = "a master of Redis Cluster"
    is_in_a_cluster = False

    def command(self) -> list[str]:
        options = {"enabled": "yes", "node-timeout": "2000", "require-full-coverage": "no"}
        pairs = [[f"--cluster-{option}", value] for option, value in options.items()]
        return [*super().command(), *(word for pair in pairs for word in pair)]

    def is_ready(self) -> bool:
        try:
            with Redis(port=self.port, client_name="admin", socket_timeout=5) as admin:
                facts = admin.execute_command("CLUSTER", "INFO")
        except RedisError:
            return False
        return not self.is_in_a_cluster or b"cluster_state:ok" in facts


class RedisCluster(Database):
    """Three masters without replicas. What happens to a server happens to the last of them.

    The way to them is direct: a cluster tells its clients where each master is.
    """

    name = "Redis Cluster"
    user = "redis"
    # For each master a process has three clients. Each of them opens connections to every node that
    # it asks, and a second one when two commands to it overlap.
    allowed_connections = 4 * MASTERS * MASTERS

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._masters = [Master(directory / str(number)) for number in range(MASTERS)]
        last = self._masters[-1]
        self.kill, self.launch, self.shut_down = last.kill, last.launch, last.shut_down
        self.freeze, self.thaw = last.freeze, last.thaw
        self.ensure_running = last.ensure_running

    def create(self) -> None:
        for master in self._masters:
            master.directory.mkdir()
            give(self.directory, self.user)
            master.create()
        form = [program("redis-cli"), "--cluster", "create", *self._addresses, "--cluster-yes"]
        run(form, self.user)
        for master in self._masters:
            master.is_in_a_cluster = True
            master.wait_until_ready()

    def prepare(self) -> None:
        """There are no tables."""

    @property
    def _addresses(self) -> list[str]:
        return [f"127.0.0.1:{master.port}" for master in self._masters]

    def url(self, port: int) -> str:
        del port  # that of the network, through which nobody goes
        return f"redis+cluster://{','.join(self._addresses)}"

    def connections(self, pids: Sequence[int]) -> int:
        return sum(master.connections(pids) for master in self._masters)

    def end_connections(self) -> None:
        for master in self._masters:
            master.end_connections()

    def stop(self) -> None:
        for master in self._masters:
            master.stop()
