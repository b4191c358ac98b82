"""A store where a client of the application leads: the same servers, the same user.

The connections are our own. Those of the application may be in any state, and wait behind its
other calls; ours have limits of their own and are closed when one of them broke.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from redis import Redis as BlockingRedis
from redis import RedisCluster as BlockingRedisCluster
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import SSLConnection
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.stores.redis.server import Client
from hello_tornado.sessions.stores.redis.url import Cluster, Target, limits_of, master_for

# What is kept of a client's arguments: where the servers are, and as which user they are asked. The
# time limits, the number of tries and the protocol are ours.
KEPT: Final = {
    "client_name",
    "credential_provider",
    "db",
    "host",
    "password",
    "path",
    "port",
    "redis_connect_func",
    "socket_keepalive",
    "socket_keepalive_options",
    "username",
}


def target_of_client(client: object, prefix: str, replicas: int, limit: float) -> Target:
    """What a client of redis-py leads to."""
    make: Callable[[], Client]
    if isinstance(client, RedisCluster):
        make = partial(_beside_a_cluster, client, limit)
    elif isinstance(client, Redis):
        make = partial(_beside_a_server, client, limit)
    else:
        is_blocking = isinstance(client, BlockingRedis | BlockingRedisCluster)
        given = "one that blocks the event loop" if is_blocking else type(client).__name__
        raise ConfigurationError(
            f"RedisStore.from_client() takes a client of redis.asyncio, and not {given}: "
            "redis.asyncio.Redis(…), or redis.asyncio.RedisCluster(…)"
        )
    return Target(make, isinstance(client, RedisCluster), prefix, replicas, limit)


def name_of_client(client: Client) -> str:
    """Where it leads, as a URL without a user."""
    if isinstance(client, RedisCluster):
        nodes = client.nodes_manager.startup_nodes.values()
        return f"redis+cluster://{','.join(node.name for node in nodes)}"
    pool = client.connection_pool
    facts = pool.connection_kwargs
    if isinstance(pool, SentinelConnectionPool):
        hosts = ",".join(f"{host}:{port}" for host, port in _addresses(pool))
        return f"redis+sentinel://{hosts}/{pool.service_name}/{facts.get('db', 0)}"
    if "path" in facts:
        return f"redis+unix://{facts['path']}?db={facts.get('db', 0)}"
    scheme = "rediss" if issubclass(pool.connection_class, SSLConnection) else "redis"
    return f"{scheme}://{facts.get('host')}:{facts.get('port')}/{facts.get('db', 0)}"


def _kept(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name in KEPT or name.startswith("ssl_")}


def _beside_a_server(client: Redis, limit: float) -> Redis:
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        return _beside_sentinels(pool, limit)
    ours = BlockingConnectionPool(
        connection_class=pool.connection_class,
        max_connections=1,
        timeout=limit,
        **_kept(pool.connection_kwargs),
        **limits_of(limit),
    )
    return Redis.from_pool(ours)


def _beside_a_cluster(client: RedisCluster, limit: float) -> RedisCluster:
    nodes = client.nodes_manager.startup_nodes.values()
    facts = client.connection_kwargs
    of_one_node = {"host", "port", "redis_connect_func"}
    kept = {name: value for name, value in _kept(facts).items() if name not in of_one_node}
    return Cluster(
        startup_nodes=[ClusterNode(node.host, node.port) for node in nodes],
        ssl=facts.get("connection_class") is SSLConnection,
        require_full_coverage=False,
        address_remap=client.nodes_manager.address_remap,
        **kept,
        **limits_of(limit),
    )


def _beside_sentinels(pool: SentinelConnectionPool, limit: float) -> Redis:
    kept = _kept(pool.connection_kwargs)
    if issubclass(pool.connection_class, SentinelManagedSSLConnection):
        kept["ssl"] = True
    asking = pool.sentinel_manager.sentinel_kwargs
    return master_for(pool.service_name, _addresses(pool), asking, kept, limit)


def _addresses(pool: SentinelConnectionPool) -> list[tuple[str, int]]:
    each = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    return [(facts["host"], facts["port"]) for facts in each]
