"""A database of each kind, started for one use and ended after it."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from bench.faults.databases import Database, ServerDatabase, disk_of_its_own
from bench.faults.galera import Galera
from bench.faults.mariadb import Mariadb
from bench.faults.pgbouncer import PooledPostgresql
from bench.faults.postgresql import Postgresql, PostgresqlByAsyncpg
from bench.faults.redis_cluster import RedisCluster
from bench.faults.redis_server import RedisServer
from bench.faults.sentinel import WatchedRedis
from bench.faults.sqlite import Sqlite

DATABASES: dict[str, type[Database]] = {
    "sqlite": Sqlite,
    "postgresql": Postgresql,
    "postgresql+asyncpg": PostgresqlByAsyncpg,
    "mariadb": Mariadb,
    "redis": RedisServer,
    "pgbouncer": PooledPostgresql,
    "galera": Galera,
    "sentinel": WatchedRedis,
    "redis+cluster": RedisCluster,
}


@asynccontextmanager
async def database_of(store: str, *, with_twin: bool) -> AsyncIterator[tuple[Database, bool]]:
    """An empty database that is up, and whether its disk is its own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        has_disk = stack.enter_context(disk_of_its_own(directory))
        database = DATABASES[store](directory)
        stack.callback(database.stop)
        await asyncio.to_thread(database.create)
        await asyncio.to_thread(database.prepare)
        if with_twin and isinstance(database, ServerDatabase):
            await asyncio.to_thread(database.make_twin)
        yield database, has_disk
