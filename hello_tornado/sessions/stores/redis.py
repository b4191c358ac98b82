"""Sessions in Redis or Valkey, alone or as a cluster: a record is one string, a swap one script.

All names share one hash tag, so that each call is one atomic step on one node. A record leaves at a
purge, or by its time to live, an hour after its end.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import RedisCluster
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as ConnectionLost

from hello_tornado.sessions.errors import StoreError, StoreTimeout, StoreUnavailable
from hello_tornado.sessions.ids import SessionKey
from hello_tornado.sessions.record import Outcome, SessionRecord, Swap
from hello_tornado.sessions.stores import without_password
from hello_tornado.sessions.stores.redis_records import outcome_of, record_of, value_of
from hello_tornado.sessions.stores.redis_url import LIMIT_SECONDS, Target, target_of

R = TypeVar("R")

SCRIPT = Path(__file__).with_name("redis.lua").read_text(encoding="utf-8")
LISTEN_SECONDS = 30
UNWILLING = (ClusterDownError, OutOfMemoryError, ReadOnlyError, TryAgainError)  # at this time

logger = logging.getLogger("hello_tornado.sessions")


class RedisStore:
    """A store in one Redis or Valkey database, or one cluster; `from_url` opens it.

    With the option `wait_replicas` a delete waits until so many replicas have it, too, and else
    fails: the session is gone then, but might come back if the master were lost at this moment.
    """

    def __init__(self, target: Target, name: str) -> None:
        self._name = name
        self._client, prefix, self._replicas = target
        self._records = f"{{{prefix}}}:record:".encode()
        self._index = f"{{{prefix}}}:expiries"
        self._channel = f"{{{prefix}}}:ended"
        self._script = self._client.register_script(SCRIPT)
        self._is_checked = False
        self._running: set[asyncio.Task[Any]] = set()

    @classmethod
    def from_url(cls, text: str) -> "RedisStore":
        """The store of a `redis://`, `rediss://`, `redis+unix://` or `redis+cluster://` URL."""
        return cls(target_of(text), without_password(text))

    def __str__(self) -> str:
        return self._name

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """The records under these keys."""
        if not keys:
            return {}
        names = [self._records + key for key in keys]
        values: list[Any] = await self._read(lambda: self._client.mget(names))
        found = zip(keys, values, strict=True)
        return {key: record_of(key, value) for key, value in found if value is not None}

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        """One outcome for each swap, in order."""
        arguments: list[Any] = []
        for old, new in swaps:
            standing = (b"", 0) if old is None else (old.key, old.version)
            arguments += [*standing, new.key, value_of(new)]
        return [outcome_of(answer) for answer in await self._write("save", *arguments)]

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Later times where key and version stand."""
        arguments: list[Any] = []
        for record in records:
            arguments += [record.key, record.version, record.accessed_at, record.expires_at]
        await self._write("touch", *arguments)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Remove records; returns the keys of those that were there."""
        if self._replicas:
            return await self._answer(lambda: self._delete_on_replicas(keys))
        return set(await self._write("delete", *keys))

    async def find_by_user(self, user_id: str, /) -> Sequence[SessionRecord]:
        """All records of a user, newest first."""
        found = await self._find("find_by_user", json.dumps(user_id))
        return sorted(found, key=lambda record: (-record.created_at, record.key))

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """The records that have these handles."""
        return await self._find("find_by_handle", *handles)

    async def page(self, after: SessionRecord | None, limit: int, /) -> Sequence[SessionRecord]:
        """The next *limit* records by expiry, then by key."""
        start = (after.expires_at, after.key) if after else ()
        return await self._find("page", limit, *start)

    async def count(self, after: int = 0, /) -> int:
        """How many records expire after a moment."""
        number = await self._read(lambda: self._client.zcount(self._index, f"({after}", "+inf"))
        return int(number)

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* expired records."""
        return int(await self._write("purge", now, limit))

    async def announce(self, handles: Collection[str], /) -> None:
        """Tell every process that listens."""
        await self._answer(lambda: self._client.publish(self._channel, " ".join(handles)))

    async def announcements(self) -> AsyncGenerator[Collection[str]]:
        """What is announced from now on; holds one connection."""
        pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        try:
            await self._client.initialize()  # or a cluster knows no node yet
            await pubsub.subscribe(self._channel)
            while True:
                message = await pubsub.get_message(timeout=LISTEN_SECONDS)
                if message is not None:
                    yield message["data"].decode().split()
        except (RedisError, RedisClusterException, OSError) as error:
            raise StoreUnavailable(f"the session store failed: {error}") from error
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _find(self, *arguments: Any) -> Sequence[SessionRecord]:
        found = await self._read(lambda: self._run(*arguments))
        return [record_of(key, value) for key, value in found]

    async def _write(self, *arguments: Any) -> Any:
        return await self._answer(lambda: self._run(*arguments))

    async def _run(self, *arguments: Any) -> Any:
        return await self._script(keys=[self._index], args=arguments)

    async def _delete_on_replicas(self, keys: Collection[SessionKey]) -> Collection[SessionKey]:
        """WAIT is about the writes of its own connection: both go through one, at one node."""
        pipeline: Any = self._client.pipeline(transaction=False)
        node = {}
        if isinstance(self._client, RedisCluster):
            await self._client.exists(self._index)  # follows the cluster to where the key is now
            node = {"target_nodes": self._client.get_node_from_key(self._index)}
        milliseconds = int(LIMIT_SECONDS * 1000 / 2)
        pipeline.execute_command("EVAL", SCRIPT, 1, self._index, "delete", *keys, **node)
        pipeline.execute_command("WAIT", self._replicas, milliseconds, **node)
        deleted, reached = await pipeline.execute()
        if reached < self._replicas:
            raise StoreUnavailable(
                f"the session store failed: the end of a session reached {reached} replicas, "
                f"and not {self._replicas}"
            )
        return set(deleted)

    async def _read(self, call: Callable[[], Awaitable[R]]) -> R:
        """The answer to *call*, asked a second time if the connection was found dead."""
        try:
            return await self._answer(call)
        except StoreUnavailable as error:
            if not isinstance(error.__cause__, ConnectionLost):
                raise
        return await self._answer(call)

    async def _answer(self, call: Callable[[], Awaitable[R]]) -> R:
        task = asyncio.create_task(self._checked(call))
        self._running.add(task)
        task.add_done_callback(self._forget)
        try:
            # Not asyncio.timeout: redis-py's pool may lose a cancellation, and wait on.
            await asyncio.wait({task}, timeout=LIMIT_SECONDS)
        finally:
            task.cancel()
        if not task.done():
            raise StoreTimeout("the session store failed: it did not answer in time")
        try:
            return task.result()
        except AuthenticationError as error:
            raise StoreUnavailable(
                "the session store failed: it did not accept the user or the password"
            ) from error
        except ResponseError as error:
            kind = StoreUnavailable if isinstance(error, UNWILLING) else StoreError
            raise kind(f"the session store failed: {error}") from error
        except (RedisError, RedisClusterException, OSError) as error:
            raise StoreUnavailable(f"the session store failed: {error}") from error

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # of a task that was left behind, nobody asks

    async def _checked(self, call: Callable[[], Awaitable[R]]) -> R:
        if not self._is_checked:
            await self._check_memory_policy()
        return await call()

    async def _check_memory_policy(self) -> None:
        """Say once that a Redis which evicts keys signs people out when its memory is full."""
        try:
            memory = bytes(await self._run("memory")).decode()
        except ResponseError:  # a user who may not ask
            memory = ""
        facts = dict(line.split(":", 1) for line in memory.splitlines() if ":" in line)
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and not self._is_checked:
            logger.warning(
                "Redis has maxmemory-policy %s: when its memory is full it will end sessions; "
                "set it to noeviction",
                policy,
            )
        self._is_checked = True
