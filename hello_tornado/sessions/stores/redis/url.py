"""The client that a Redis URL leads to, and what else the URL says.

| scheme | leads to |
|---|---|
| `redis://`, `valkey://` | a server: `redis://user:password@host:6379/0` |
| `rediss://`, `valkeys://` | the same over TLS |
| `redis+unix:///path`, `unix:///path` | a server at a Unix socket; the option `db` |
| `redis+cluster://`, `rediss+cluster://` | a cluster, by some of its nodes: `host:6379,host:6380` |
| `redis+sentinel://`, `rediss+sentinel://` | a master that sentinels name: `host,host/service/0` |
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from redis._parsers import AsyncCommandsParser
from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.stores import check_is_encoded
from hello_tornado.sessions.stores.deadlines import LIMIT_SECONDS, limit_of

PORT = 6379
SENTINEL_PORT = 26379
TLS_OPTIONS = ("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile")
SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
OPTIONS = ("db", "prefix", "timeout", "wait_replicas", *SENTINEL_OPTIONS, *TLS_OPTIONS)
SCHEMES = {"redis": "redis", "valkey": "redis", "rediss": "rediss", "valkeys": "rediss"}


class Cluster(RedisCluster):
    """A client of a cluster that opens as soon as any node answers.

    redis-py asks node after node, and waits for one that hangs until the limit is over.
    """

    RedisClusterRequestTTL = 5  # tries after MOVED, ASK and TRYAGAIN; the last three wait 0.05 s

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands_parser = _CommandsOfAnyMaster(self)

    async def initialize(self, *args: Any, **kwargs: Any) -> "Cluster":
        """Learn which node has which slots, of the node that answers first."""
        nodes = self.nodes_manager.startup_nodes
        node = await _first_to_answer([*nodes.values()])
        if node is not None:
            self.nodes_manager.startup_nodes = {node.name: node}
        await super().initialize(*args, **kwargs)
        return self


class _CommandsOfAnyMaster(AsyncCommandsParser):
    def __init__(self, client: RedisCluster) -> None:
        super().__init__()
        self._client = client

    async def initialize(self, _node: ClusterNode | None = None) -> None:
        """Ask the master that answers first."""
        masters = self._client.get_primaries()
        if not masters:
            raise RedisClusterException("the cluster has no master")
        node = await _first_to_answer(masters) or secrets.choice(masters)
        await super().initialize(node)
        self._client.set_default_node(node)


async def _first_to_answer(nodes: Sequence[ClusterNode]) -> ClusterNode | None:
    """The first of the *nodes* that answers, asked at the same time; None when none does."""
    if len(nodes) == 1:
        return nodes[0]
    asked = {asyncio.ensure_future(_greet(node)) for node in nodes}
    try:
        for done in asyncio.as_completed(asked):
            with suppress(RedisError, OSError):
                return await done
    finally:
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    return None


async def _greet(node: ClusterNode) -> ClusterNode:
    """Open a connection as the client does, with its greeting, and close it."""
    connection: Any = node.connection_class(**node.connection_kwargs)
    try:
        await connection.connect()
        await connection.send_command("PING")
        await connection.read_response()
    finally:
        await connection.disconnect(nowait=True)
    return node


class Target(NamedTuple):
    """What makes clients, the prefix of every name, and what else the URL says.

    A delete waits for so many *replicas*; a call may take *limit* seconds.
    """

    connect: Callable[[], Redis | RedisCluster]
    is_cluster: bool
    prefix: str
    replicas: int
    limit: float


def target_of(text: str) -> Target:
    """What a URL leads to, not yet connected; `ConfigurationError` says what is wrong with it."""
    check_is_encoded(text)
    parts = urlsplit(text)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    _check(parts, options)
    prefix = options.pop("prefix", "hello_tornado")
    replicas = int(options.pop("wait_replicas", "0"))
    limit = limit_of(options.pop("timeout", str(LIMIT_SECONDS)))
    connect = partial(_client, parts._replace(query=urlencode(options)), limit)
    try:
        connect()
    except ValueError as error:  # such as a port that is no number
        raise ConfigurationError(f"the Redis URL cannot be used: {error}") from None
    is_cluster = parts.scheme.endswith("+cluster")
    return Target(connect, is_cluster, prefix, replicas, limit)


def _check(parts: SplitResult, options: Mapping[str, str]) -> None:
    kind = parts.scheme.partition("+")[2]
    if kind not in {"", "unix", "cluster", "sentinel"}:
        raise ConfigurationError(
            f"a Redis URL may have +unix, +cluster or +sentinel, but not +{kind}"
        )
    if unknown := ", ".join(sorted(options.keys() - set(OPTIONS))):
        raise ConfigurationError(
            f"a Redis URL has no option {unknown}; it has {', '.join(OPTIONS)}"
        )
    check_prefix(options.get("prefix", "a"))
    service, database = _service_and_database(parts)
    if kind == "sentinel" and not service:
        raise ConfigurationError(
            "a Redis URL with +sentinel names the service: redis+sentinel://host:26379/service"
        )
    if kind != "sentinel" and options.keys() & set(SENTINEL_OPTIONS):
        raise ConfigurationError("only a Redis URL with +sentinel has the options sentinel_…")
    if (
        options.keys() & set(TLS_OPTIONS)
        and SCHEMES.get(parts.scheme.partition("+")[0]) != "rediss"
    ):
        raise ConfigurationError("only a Redis URL that begins with rediss has the options ssl_…")
    for value in (database or "0", options.get("db", "0"), options.get("wait_replicas", "0")):
        if not value.isdecimal():
            raise ConfigurationError(f"a Redis URL has {value!r} where a number belongs")


def check_prefix(prefix: str) -> None:
    """Refuse what would not be one hash tag."""
    if not prefix or set(prefix) & set("{}"):
        raise ConfigurationError("the prefix of a Redis store is a word without braces")


def limits_of(limit: float) -> dict[str, Any]:
    """Our limits, and no second try of its own: a write that was tried twice may be done twice."""
    return {
        "socket_connect_timeout": limit,
        "socket_timeout": limit,
        "retry": Retry(NoBackoff(), 0),
    }


def _service_and_database(parts: SplitResult) -> tuple[str, str]:
    """What the path of a URL names; "" for what it does not."""
    path = parts.path.strip("/")
    if "unix" in parts.scheme:
        return "", ""
    if parts.scheme.endswith("+sentinel"):
        service, _, database = path.partition("/")
        return service, database
    return "", path


def _client(parts: SplitResult, limit: float) -> Redis | RedisCluster:
    scheme, _, kind = parts.scheme.partition("+")
    limits = limits_of(limit)
    if "unix" in (scheme, kind):
        url = parts._replace(scheme="unix").geturl()
    elif kind == "cluster":
        user, at, hosts = parts.netloc.rpartition("@")
        nodes = [urlsplit(f"//{host}") for host in hosts.split(",")]
        url = parts._replace(scheme=SCHEMES[scheme], netloc=f"{user}{at}{nodes[0].netloc}").geturl()
        others = [ClusterNode(str(node.hostname), node.port or PORT) for node in nodes]
        # A part of the slots without a master costs the sessions in them, and no others.
        limits |= {"require_full_coverage": False}
        return Cluster.from_url(url, startup_nodes=others, **limits)
    elif kind == "sentinel":
        return _client_of_sentinels(parts, limit)
    else:
        url = parts._replace(scheme=SCHEMES[scheme]).geturl()
    pool = BlockingConnectionPool.from_url(url, max_connections=1, timeout=limit, **limits)
    return Redis.from_pool(pool)


def _client_of_sentinels(parts: SplitResult, limit: float) -> Redis:
    """The master of a service. The user and the password are the master's. TLS holds for both."""
    user, at, hosts = parts.netloc.rpartition("@")
    sentinels = [urlsplit(f"//{host}") for host in hosts.split(",")]
    service, database = _service_and_database(parts)
    scheme = SCHEMES[parts.scheme.partition("+")[0]]
    url = parts._replace(scheme=scheme, netloc=f"{user}{at}{sentinels[0].netloc}", path=database)
    options: dict[str, Any] = dict(parse_url(url.geturl()))
    options = {
        name: options[name] for name in options.keys() - {"host", "port", "connection_class"}
    }
    asking = {
        name.removeprefix("sentinel_"): options.pop(name)
        for name in SENTINEL_OPTIONS
        if name in options
    }
    if scheme == "rediss":
        tls = {name: options[name] for name in TLS_OPTIONS if name in options} | {"ssl": True}
        options |= tls
        asking |= tls
    known = [(str(one.hostname), one.port or SENTINEL_PORT) for one in sentinels]
    return master_for(service, known, asking, options, limit)


def master_for(
    service: str,
    sentinels: Sequence[tuple[str, int]],
    asking: Mapping[str, Any],
    options: Mapping[str, Any],
    limit: float,
) -> Redis:
    """A client of the master that *sentinels*, at these addresses, name for a *service*.

    *asking* says how the sentinels are asked, and *options* how the master is. Of the *limit*, in
    seconds, each sentinel has a part to name it.
    """
    share = limit / (len(sentinels) + 1)
    shares = {"socket_connect_timeout": share, "socket_timeout": share}
    sentinel: Any = Sentinel
    client: Redis = sentinel(
        sentinels,
        sentinel_kwargs={**asking, **limits_of(limit), **shares},
        **options,
        **limits_of(limit),
    ).master_for(service)
    return client
