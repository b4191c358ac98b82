"""Sessions in Redis or Valkey, alone or as a cluster: a record is one string, a swap one script.

All names share one hash tag, so that each call is one atomic step on one node. A record leaves at a
purge, or by its time to live, an hour after its end.
"""

import hashlib
import json
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any, Final

from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import (
    Listed,
    Outcome,
    SessionFacts,
    SessionRecord,
    Swap,
    in_parts,
)
from hello_tornado.sessions.stores import without_password
from hello_tornado.sessions.stores.connections import Connections
from hello_tornado.sessions.stores.redis.records import facts_of, outcome_of, record_of, value_of
from hello_tornado.sessions.stores.redis.server import SCRIPT, Client, RedisServer
from hello_tornado.sessions.stores.redis.url import Target, target_of

SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
LISTEN_SECONDS = 30


class RedisStore:
    """A store in one Redis or Valkey database, or one cluster; `from_url` opens it.

    With the option `wait_replicas` a delete waits until so many replicas have it, too, and else
    fails: the session is gone then, but might come back if the master were lost at this moment.
    """

    def __init__(self, target: Target, name: str) -> None:
        self._name = name
        self._replicas, self.limit_seconds = target.replicas, target.limit
        self._records = f"{{{target.prefix}}}:record:".encode()
        self._index = f"{{{target.prefix}}}:expiries"
        self._channel = f"{{{target.prefix}}}:ended"
        self._server = RedisServer(target)
        self._connections: Connections[Client] = Connections(self._server, target.limit)

    @classmethod
    def from_url(cls, text: str) -> "RedisStore":
        """The store of a `redis://` or `rediss://` URL, also with +unix, +cluster or +sentinel."""
        return cls(target_of(text), without_password(text))

    def __str__(self) -> str:
        return self._name

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """The records under these keys."""
        if not keys:
            return {}
        names = [self._records + key for key in keys]
        values: list[Any] = await self._connections.read(_mget, names)
        found = zip(keys, values, strict=True)
        return {key: record_of(key, value) for key, value in found if value is not None}

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        """One outcome for each swap, in order."""
        outcomes: list[Outcome] = []
        for part in in_parts(swaps):
            arguments: list[Any] = []
            for old, new in part:
                standing = (b"", 0) if old is None else (old.key, old.version)
                arguments += [*standing, new.key, value_of(new)]
            outcomes += [outcome_of(answer) for answer in await self._write("save", *arguments)]
        return outcomes

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Later times where key and version stand."""
        arguments: list[Any] = []
        for record in records:
            arguments += [record.key, record.version, record.accessed_at, record.expires_at]
        await self._write("touch", *arguments)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Remove records; returns the keys of those that were there."""
        if self._replicas:
            return set(await self._connections.write(self._delete_on_replicas, keys))
        return set(await self._write("delete", *keys))

    async def find_by_user(self, user_id: str, /) -> Sequence[SessionFacts]:
        """All records of a user, newest first, without their data."""
        lines = await self._connections.read(self._run, "find_by_user", json.dumps(user_id))
        return sorted(
            (facts_of(*line) for line in lines), key=lambda one: (-one.created_at, one.key)
        )

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """The records that have these handles."""
        found = await self._connections.read(self._run, "find_by_handle", *handles)
        return [record_of(key, value) for key, value in found]

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[SessionFacts]:
        """The next *limit* records by expiry, then by key, without their data."""
        start = (after.expires_at, after.key) if after else ()
        lines = await self._connections.scan(self._run, "page", limit, *start)
        return [facts_of(*line) for line in lines]

    async def count(self, after: int = 0, /) -> int:
        """How many records expire after a moment."""
        return int(await self._connections.scan(_zcount, self._index, f"({after}"))

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* expired records."""
        return int(await self._write("purge", now, limit))

    async def announce(self, handles: Collection[str], /) -> None:
        """Tell every process that listens."""
        await self._connections.write(_publish, self._channel, " ".join(handles))

    async def announcements(self) -> AsyncGenerator[Collection[str]]:
        """What is announced from now on; holds one connection."""
        client = self._server.connect()
        pubsub = client.pubsub(ignore_subscribe_messages=True)
        try:
            await client.initialize()  # or a cluster knows no node yet
            await pubsub.subscribe(self._channel)
            while True:
                message = await pubsub.get_message(timeout=LISTEN_SECONDS)
                if message is not None:
                    yield message["data"].decode().split()
        except (RedisError, RedisClusterException, OSError) as error:
            raise StoreUnavailable(f"the session store failed: {error}") from error
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            await self._server.close(client)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connections.aclose()

    async def _write(self, *arguments: Any) -> Any:
        return await self._connections.write(self._run, *arguments)

    async def _run(self, client: Client, *arguments: Any) -> Any:
        try:
            return await client.evalsha(SHA, 1, self._index, *arguments)
        except NoScriptError:
            return await client.eval(SCRIPT, 1, self._index, *arguments)

    async def _delete_on_replicas(self, client: Client, keys: Collection[SessionKey]) -> Any:
        """WAIT is about the writes of its own connection: both go through one, at one node."""
        pipeline: Any = client.pipeline(transaction=False)
        node = {}
        if isinstance(client, RedisCluster):
            await client.exists(self._index)  # follows the cluster to where the key is now
            node = {"target_nodes": client.get_node_from_key(self._index)}
        milliseconds = int(self.limit_seconds * 1000 / 2)
        pipeline.execute_command("EVAL", SCRIPT, 1, self._index, "delete", *keys, **node)
        pipeline.execute_command("WAIT", self._replicas, milliseconds, **node)
        deleted, reached = await pipeline.execute()
        if reached < self._replicas:
            raise StoreUnavailable(
                f"the session store failed: the end of a session reached {reached} replicas, "
                f"and not {self._replicas}"
            )
        return deleted


async def _mget(client: Client, names: Sequence[bytes]) -> Any:
    return await client.mget(names)


async def _zcount(client: Client, name: str, after: str) -> Any:
    return await client.zcount(name, after, "+inf")


async def _publish(client: Client, channel: str, message: str) -> Any:
    return await client.publish(channel, message)
