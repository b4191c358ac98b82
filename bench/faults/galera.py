"""MariaDB's Galera: two nodes, one for each process of the application."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pymysql

from bench.faults.databases import Database, free_port, give
from bench.faults.mariadb import Mariadb

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
ISOLATE = "SET GLOBAL wsrep_provider_options = 'gmcast.isolate={}'"
STATES = (
    "SHOW STATUS WHERE variable_name IN ('wsrep_ready', 'wsrep_local_state_comment') "
    "AND value IN ('ON', 'Synced')"
)


def galera_options(port: int, cluster: int | None, *, weight: int) -> list[str]:
    """The options of a node that listens at *port* for other nodes.

    It joins the node that listens at *cluster*; without one it begins a cluster. The nodes that
    have more than half of all *weight* go on without the others. `FileNotFoundError` without
    Galera.
    """
    if not PROVIDER.exists():
        raise FileNotFoundError(f"{PROVIDER} is missing: install Debian's package galera-4")
    replication = {
        "gmcast.listen_addr": f"tcp://127.0.0.1:{port}",
        "ist.recv_addr": f"127.0.0.1:{free_port()}",
        "gcache.size": "16M",
        "pc.weight": weight,
    }
    address = "" if cluster is None else f"127.0.0.1:{cluster}"
    return [
        *("--wsrep-on=ON", f"--wsrep-provider={PROVIDER}"),
        f"--wsrep-cluster-address=gcomm://{address}",
        *("--wsrep-node-address=127.0.0.1", "--wsrep-sst-method=rsync"),
        f"--wsrep-sst-receive-address=127.0.0.1:{free_port()}",
        f"--wsrep-provider-options={';'.join(f'{k}={v}' for k, v in replication.items())}",
        *("--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--innodb-log-file-size=16M"),
    ]


class Node(Mariadb):
    """A node; the first one counts twice, so that it goes on alone."""

    name = "a node of Galera"

    def __init__(self, directory: Path, first: "Node | None" = None) -> None:
        super().__init__(directory)
        self._first = first
        self._listens = free_port()

    def create(self) -> None:
        """Make the first node's data; the second one gets all of it when it joins."""
        self.directory.mkdir()
        if self._first is None:
            super().create()
            return
        self._data.mkdir()
        (self.directory / "init.sql").touch()
        give(self.directory, self.user)
        self.launch()

    def command(self) -> list[str]:
        first = self._first
        cluster, weight = (None, 2) if first is None else (first._listens, 1)
        return [*super().command(), *galera_options(self._listens, cluster, weight=weight)]

    def is_ready(self) -> bool:
        try:
            return len(self.ask(STATES)) == 2
        except pymysql.Error:
            return False


class Galera(Database):
    """Two nodes. What happens to a server happens to the second one, which process 1 uses."""

    name = "MariaDB Galera"
    user = "mysql"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._first = Node(directory / "first")
        self._second = Node(directory / "second", self._first)
        self.kill, self.launch = self._second.kill, self._second.launch
        self.shut_down = self._second.shut_down
        self.freeze, self.thaw = self._second.freeze, self._second.thaw

    @property
    def _nodes(self) -> tuple[Node, Node]:
        return self._first, self._second

    def create(self) -> None:
        for node in self._nodes:
            node.create()

    def url(self, port: int) -> str:
        return self._first.url(port)

    @property
    def leading_port(self) -> int:
        return self._first.port

    def port_for(self, process: int) -> int:
        return self._nodes[process].port

    def connections(self, pids: Sequence[int]) -> int:
        return sum(node.connections(pids) for node in self._nodes)

    def end_connections(self) -> None:
        for node in self._nodes:
            node.end_connections()

    def ensure_running(self) -> None:
        self._second.ensure_running()

    def stop(self) -> None:
        for node in self._nodes[::-1]:
            node.stop()

    @contextmanager
    def isolated(self) -> Iterator[None]:
        """The nodes do not reach each other."""
        self._second.ask(ISOLATE.format(1))
        try:
            yield
        finally:
            self._second.ask(ISOLATE.format(0))
            self._second.wait_until_ready()
