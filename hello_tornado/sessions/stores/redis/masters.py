"""Which master has which names, and the connections to each.

On one server all names share one hash tag. On a cluster there are 64 tags, which lie evenly in its
slots, so that each master holds its share whichever way the slots are divided. The first byte of a
key chooses its tag: a record, its handle and its entry in the index of users stay together, and a
script about them is one atomic step.

Each master has connections of its own. One that is lost or hangs fails the calls that need it, and
keeps no other waiting.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias

from redis.asyncio import RedisCluster
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import RedisClusterException

from hello_tornado.sessions.errors import StoreError, StoreUnavailable
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.stores.connections import Connections
from hello_tornado.sessions.stores.deadlines import did_not_answer
from hello_tornado.sessions.stores.failures import ABOUT_ALL, failed
from hello_tornado.sessions.stores.redis.server import Client, RedisServer
from hello_tornado.sessions.stores.redis.url import Target

TAGS_OF_A_CLUSTER: Final = 64

Run: TypeAlias = Callable[..., Awaitable[Any]]
"""Asks a client something: given the client and some calls, it returns their answers."""


class Call(NamedTuple):
    """What is asked of the names with one tag."""

    tag: int
    command: Sequence[Any]


class Masters:
    """The masters of the cluster that *target* names; of a single server, that one.

    A `Placement`: a key's partition is the number of its tag, and its server the name of a master.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.tags = _tags(target.prefix) if target.is_cluster else [target.prefix]
        self.indexes: Final = [f"{{{tag}}}:expiries" for tag in self.tags]
        self.records: Final = [f"{{{tag}}}:record:".encode() for tag in self.tags]
        more = (":never",) if target.is_cluster else ()
        self.keys: Final = [  # the KEYS of the script
            [f"{{{tag}}}{name}" for name in (":expiries", *more)] for tag in self.tags
        ]
        self._names = [""] * len(self.tags)  # of the masters; "" while nobody has looked
        self._answering = ""  # the master that was written to last for the whole store
        self._connections: dict[str, Connections[Client]] = {}
        self._is_located = not target.is_cluster
        self._closing: set[asyncio.Task[None]] = set()

    def partition_of(self, key: SessionKey, /) -> int:
        """The number of the tag of all names of a session."""
        return key[0] % len(self.tags)

    def server_of(self, key: SessionKey, /) -> str:
        """The name of the master that has this key, as far as that is known."""
        return self._names[self.partition_of(key)]

    async def read(self, run: Run, calls: Sequence[Call]) -> Sequence[Any]:
        """The answers of *run* to *calls*, in their order; asked twice if a connection was dead."""
        return await self._ask(Connections.read, run, calls)

    async def scan(self, run: Run, calls: Sequence[Call]) -> Sequence[Any]:
        """The same, of calls that take their time."""
        return await self._ask(Connections.scan, run, calls)

    async def write(self, run: Run, calls: Sequence[Call]) -> Sequence[Any]:
        """The same, asked once.

        When one of several calls is refused, the others may be done: `StoreUnavailable`.
        """
        try:
            return await self._ask(Connections.write, run, calls)
        except ABOUT_ALL:
            raise
        except StoreError as error:
            if len(calls) == 1:
                raise
            raise failed(StoreUnavailable, "a part of it may be done", error) from error

    async def write_to_one(self, run: Run, *args: Any) -> Any:
        """What *run* returns of one master: the one that has answered last, or else the next.

        *run* is given the client, the name of an index that this master has, and *args*.
        """
        await self._locate()
        tag_of = {name: tag for tag, name in enumerate(self._names)}
        names = [*tag_of]
        start = names.index(self._answering) if self._answering in names else 0
        failure: StoreUnavailable | None = None
        for name in names[start:] + names[:start]:
            index = self.indexes[tag_of[name]]
            try:
                async with asyncio.timeout(self._target.limit / len(names)):
                    answer = await self._connections_to(name, tag_of[name]).write(run, index, *args)
            except TimeoutError:  # also a StoreTimeout
                failure = did_not_answer()
            except StoreUnavailable as error:
                failure = error
            else:
                self._answering = name
                return answer
        assert failure is not None  # noqa: S101 - there is one master at least
        raise failure

    async def _ask(self, verb: Run, run: Run, calls: Sequence[Call]) -> Sequence[Any]:
        """Ask all masters at once. What one refuses is raised when the others have done theirs."""
        if not self._is_located:
            await self._locate()
        if len(calls) == 1:
            answers: Sequence[Any] = await verb(self._of(calls[0].tag), run, calls)
            return answers
        shares: dict[str, list[int]] = defaultdict(list)
        for place, call in enumerate(calls):
            shares[self._names[call.tag]].append(place)
        parts = await asyncio.gather(
            *(
                verb(self._of(calls[places[0]].tag), run, [calls[place] for place in places])
                for places in shares.values()
            ),
            return_exceptions=True,
        )
        answer_of: dict[int, Any] = {}
        for places, part in zip(shares.values(), parts, strict=True):
            if isinstance(part, BaseException):
                raise part
            answer_of.update(zip(places, part, strict=True))
        return [answer_of[place] for place in range(len(calls))]

    def _of(self, tag: int) -> Connections[Client]:
        name = self._names[tag]
        return self._connections.get(name) or self._connections_to(name, tag)

    def _connections_to(self, name: str, tag: int | None) -> Connections[Client]:
        """The connections to the master *name*, which has this *tag*; without a tag, to any."""
        if name not in self._connections:
            self._close_forgotten()
            index = None if tag is None else self.indexes[tag]
            server = RedisServer(self._target, index, self._learn)
            self._connections[name] = Connections(server, self._target.limit)
        return self._connections[name]

    def _close_forgotten(self) -> None:
        """Close what led to a server that is no master any more."""
        for name in self._connections.keys() - {*self._names}:
            closing = asyncio.ensure_future(self._connections.pop(name).aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def _locate(self) -> None:
        """Learn which master has what, of any node, before the first call: one may hang."""
        if not self._is_located:
            await self._connections_to("", None).read(_nothing)
            self._is_located = True

    def _learn(self, client: Client) -> None:
        """See which master has each tag by now; where none has one, the last that did."""
        if isinstance(client, RedisCluster):
            for tag, index in enumerate(self.indexes):
                with suppress(RedisClusterException):
                    node = client.get_node_from_key(index)
                    self._names[tag] = self._names[tag] if node is None else node.name

    async def aclose(self) -> None:
        """Close all connections."""
        for connections in self._connections.values():
            await connections.aclose()
        if self._closing:
            await asyncio.wait(self._closing)


async def _nothing(_client: Client) -> None:
    """To open a connection is enough."""


def _tags(prefix: str) -> Sequence[str]:
    """The hash tags of a cluster: the first has a slot in the first 64th of them, and so on."""
    found: dict[int, str] = {}
    for number in count():
        tag = f"{prefix}:{number}"
        place = key_slot(tag.encode()) * TAGS_OF_A_CLUSTER // REDIS_CLUSTER_HASH_SLOTS
        found.setdefault(place, tag)
        if len(found) == TAGS_OF_A_CLUSTER:
            break
    return [found[place] for place in range(TAGS_OF_A_CLUSTER)]
