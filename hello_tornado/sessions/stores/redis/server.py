"""How Redis and Valkey are spoken to: a client with one connection, or one to each node."""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as TooSlow

from hello_tornado.sessions.errors import (
    StoreError,
    StoreMisconfigured,
    StoreTimeout,
    StoreUnavailable,
)
from hello_tornado.sessions.stores.deadlines import CLOCKS_MAY_DIFFER_SECONDS
from hello_tornado.sessions.stores.failures import ConnectionLost, ServerRefuses, failed
from hello_tornado.sessions.stores.redis.url import Target

Client: TypeAlias = Redis | RedisCluster

SCRIPT: Final = Path(__file__).with_name("redis.lua").read_text(encoding="utf-8")
# At this time: full, read-only, starting, short of replicas, busy with somebody's script.
UNWILLING: Final = re.compile(
    r"\b(OOM|MISCONF|NOREPLICAS|READONLY|LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOGOODSLAVE)\b"
    r"|max number of clients|can't write against a read only|used memory > 'maxmemory'"
    r"|attempted to access a non local key"  # of a slot that is being moved
)
RAN: Final = re.compile(r"@user_(script|function)")  # what it had done before stays done
DENIED: Final = re.compile(r"\bNOPERM\b|can't run this command|No permission")
ARGUMENTS: Final = re.compile(r"with args beginning with.*", re.DOTALL)

logger = logging.getLogger("hello_tornado.sessions")


class RedisServer:
    """Opens clients to the server that *target* names, and judges its errors.

    Of a cluster it looks after the master that has the name *index*, or without one after none;
    *learn* sees each new client.
    """

    def __init__(self, target: Target, index: str | None, learn: Callable[[Client], None]) -> None:
        self._target = target
        self._index = index
        self._learn = learn
        self._is_checked = False

    async def open(self) -> Client:
        """A client that is connected, to a server that was looked at once."""
        client = self._target.connect()
        try:
            await client.initialize()
            self._learn(client)
            if not self._is_checked and self._index is not None:
                await self._check(client, self._index)
                self._is_checked = True
        except BaseException:
            with suppress(Exception):
                await self.close(client)
            raise
        return client

    async def _check(self, client: Client, index: str) -> None:
        now = await client.eval("return redis.call('TIME')", 1, index)
        difference = time.time() - int(now[0])
        if abs(difference) > CLOCKS_MAY_DIFFER_SECONDS:
            logger.warning(
                "The clock of this process and that of Redis differ by %.0f seconds: "
                "let both be set by NTP",
                abs(difference),
            )
        try:
            script = "return redis.call('INFO', 'memory')"
            memory = bytes(await client.eval(script, 1, index)).decode()
        except ResponseError:  # a user who may not ask
            return
        facts = dict(line.split(":", 1) for line in memory.splitlines() if ":" in line)
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            logger.warning(
                "Redis has maxmemory-policy %s: when its memory is full it will end sessions; "
                "set it to noeviction",
                policy,
            )

    async def is_alive(self, client: Client, /) -> bool:
        """Whether the server answers and is no replica; of a cluster, whether its master does."""
        try:
            if isinstance(client, RedisCluster):
                if self._index is not None:
                    await client.exists(self._index)
                    self._learn(client)
                return True
            role: Any = await client.execute_command("ROLE")  # type: ignore[no-untyped-call]
            return bytes(role[0]) == b"master"
        except NoPermissionError:  # a user who may not ask
            return True
        except (RedisError, OSError):
            return False

    def call(
        self, client: Client, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Awaitable[Any]:
        """The result of *function*, a coroutine function that is given the client."""
        result: Awaitable[Any] = function(client, *args, **kwargs)
        return result

    async def close(self, client: Client, /) -> None:
        """Close its connections, in whatever state they are."""
        await close(client)

    def forsake(self, client: Client, /) -> None:
        """Close its sockets from another event loop."""
        nodes: list[Any] = [sentinel.connection_pool for sentinel in _sentinels_of(client)]
        nodes += (
            client.get_nodes() if isinstance(client, RedisCluster) else [client.connection_pool]
        )
        for node in nodes:
            for connection in [*getattr(node, "_connections", ()), *_of_pool(node)]:
                with suppress(Exception):  # the loop that it belonged to is closed, as a rule
                    connection._close()

    def judge(self, error: Exception, /) -> Exception:
        """What callers see."""
        match error:
            case AuthenticationError():
                why = "it did not accept the user or the password"
                return failed(StoreUnavailable, why, error)
            case ClusterDownError():
                return failed(ServerRefuses, str(error), error)
            case ResponseError():
                return _judge_answer(error)
            case TooSlow():
                return failed(StoreTimeout, "it did not answer in time", error)
            case RedisClusterException() | RedisError() | OSError():
                refuses = UNWILLING.search(why := _said(error))
                return failed(ServerRefuses if refuses else ConnectionLost, why, error)
        return error


async def close(client: Client) -> None:
    """Close all connections of a client, also those to sentinels."""
    await client.aclose()
    if isinstance(client, RedisCluster):  # after an error aclose() takes it for closed already
        await client.nodes_manager.aclose()
        await client.nodes_manager.aclose("startup_nodes")
    for sentinel in _sentinels_of(client):
        await sentinel.aclose()


def _said(error: Exception) -> str:
    if isinstance(error, MasterNotFoundError):  # the rest is what the clients look like inside
        name = str(error).removeprefix("No master found for ").partition(" : ")[0]
        return f"no sentinel that answers knows the master {name}"
    return str(error)


def _judge_answer(error: ResponseError) -> StoreError:
    code = str(getattr(error, "status_code", None) or "")
    if UNWILLING.search(f"{code} {error}"):
        return failed(ServerRefuses, f"{code} {error}".strip(), error)
    is_settled = isinstance(error, NoPermissionError) or "DB index is out of range" in str(error)
    kind = StoreUnavailable if RAN.search(str(error)) else StoreError
    if is_settled or DENIED.search(str(error)):
        kind = StoreMisconfigured
    return failed(kind, ARGUMENTS.sub("", str(error)), None)


def _sentinels_of(client: Client) -> Sequence[Redis]:
    """Who was asked which server is the master, if anybody was."""
    pool = None if isinstance(client, RedisCluster) else client.connection_pool
    return pool.sentinel_manager.sentinels if isinstance(pool, SentinelConnectionPool) else ()


def _of_pool(pool: Any) -> list[Any]:
    return [
        *getattr(pool, "_available_connections", ()),
        *getattr(pool, "_in_use_connections", ()),
    ]
