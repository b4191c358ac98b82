"""Sessions in Redis or Valkey, alone or as a cluster: a record is one string, a swap one script.

A record leaves at a purge, or by its time to live, an hour after its end.
"""

import hashlib
import heapq
import json
import math
import re
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from itertools import chain, islice
from operator import attrgetter
from typing import Any, Final, TypeAlias, TypeVar, cast

from redis.asyncio import RedisCluster
from redis.exceptions import ClusterError, NoScriptError, RedisClusterException, RedisError

from hello_tornado.sessions import options
from hello_tornado.sessions.errors import StoreError, StoreUnavailable
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import (
    AGAIN,
    Listed,
    Outcome,
    SessionFacts,
    SessionRecord,
    Swap,
    in_parts,
    page_order,
)
from hello_tornado.sessions.stores import without_password
from hello_tornado.sessions.stores.deadlines import LIMIT_SECONDS, Wait, limit_of
from hello_tornado.sessions.stores.failures import ABOUT_ALL, failed
from hello_tornado.sessions.stores.redis.existing import name_of_client, target_of_client
from hello_tornado.sessions.stores.redis.masters import Call, Masters, Run
from hello_tornado.sessions.stores.redis.records import facts_of, outcome_of, record_of, value_of
from hello_tornado.sessions.stores.redis.server import SCRIPT, Client, close
from hello_tornado.sessions.stores.redis.url import Target, target_of

SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
LISTEN_SECONDS = 30
MOVING: Final = object()  # instead of an answer: the slot is being moved, and nothing was done

T = TypeVar("T")
Verb: TypeAlias = Callable[[Run, Sequence[Call]], Awaitable[Sequence[Any]]]
"""How the masters are asked: `Masters.read`, `scan` or `write`."""


class RedisStore:
    """A store in one Redis or Valkey database, or one cluster; `from_url` opens it.

    With the option `wait_replicas` a delete waits until so many replicas have it, too, and else
    fails: the session is gone then, but might come back if the master were lost at this moment.
    """

    def __init__(self, target: Target, name: str) -> None:
        self._name = name
        self._target = target
        self.limit_seconds = target.limit
        self._masters = Masters(target)
        self.placement = self._masters if target.is_cluster else None
        self._channel = f"{{{target.prefix}}}:ended"

    @classmethod
    def from_url(cls, text: str) -> "RedisStore":
        """The store of a `redis://` or `rediss://` URL, also with +unix, +cluster or +sentinel."""
        return cls(target_of(text), without_password(text))

    @classmethod
    @options.checked(
        prefix=options.text(re.compile(r"[^{}]+"), "a word without braces"),
        wait_replicas=options.optional(options.count),
    )
    def from_client(
        cls,
        client: Client,
        *,
        prefix: str = "hello_tornado",
        wait_replicas: int | None = None,
        timeout: float = LIMIT_SECONDS,
    ) -> "RedisStore":
        """The store where a client of `redis.asyncio` leads, alone, by sentinels or to a cluster.

        It opens connections of its own, to the same servers and as the same user; the client goes
        on to be the application's, which closes it. All names begin with the *prefix*. A delete
        waits for so many replicas, by default for none, and a call may take *timeout* seconds.
        `ConfigurationError` when it is no such client, or an argument cannot work.
        """
        target = target_of_client(client, prefix, wait_replicas or 0, limit_of(str(timeout)))
        return cls(target, name_of_client(client))

    def __str__(self) -> str:
        return self._name

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """The records under these keys."""
        keys = [*keys]
        if self.placement is None:
            prefix = self._masters.records[0]
            calls = [Call(0, ["MGET", *[prefix + key for key in keys]])] if keys else []
            values = [*chain(*await self._ask(self._masters.read, calls))]
        else:
            # One name a call: with several, none is found while a slot is being moved.
            prefix_of = self._masters.records
            by_tag = [(self._masters.partition_of(key), key) for key in keys]
            calls = [Call(tag, ["GET", prefix_of[tag] + key]) for tag, key in by_tag]
            values = [*await self._ask(self._masters.read, calls)]
        return {
            key: record_of(key, value)
            for key, value in zip(keys, values, strict=True)
            if value is not None
        }

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome | StoreError]:
        """One outcome for each swap, in order; `AGAIN` while its slot is being moved."""
        shares = self._by_tag(swaps, _key_of_swap)
        if self.placement is not None:
            _check_tags(self._masters, swaps)  # before anything is written
        outcomes: dict[int, list[Outcome | StoreError]] = {tag: [] for tag in shares}
        parts = {tag: in_parts(share) for tag, share in shares.items()}
        while asked := [
            (part, self._script(tag, "save", *_saving(part)))
            for tag, waiting in parts.items()
            for part in islice(waiting, 1)
        ]:
            try:
                answers = await self._masters.write(_run, [call for _, call in asked])
            except ABOUT_ALL:
                raise
            except StoreError:
                if not any(outcomes.values()):  # nothing of the call was written
                    raise
                ((part, call),) = asked  # of several the error would say that it is not known
                outcomes[call.tag] += [await self._save_alone(call.tag, swap) for swap in part]
                continue
            for (part, call), answer in zip(asked, answers, strict=True):
                is_moving = answer is MOVING
                outcomes[call.tag] += [AGAIN] * len(part) if is_moving else map(outcome_of, answer)
        if self.placement is None:
            return outcomes.get(0, [])
        in_order = {tag: iter(done) for tag, done in outcomes.items()}
        return [next(in_order[self._masters.partition_of(_key_of_swap(one))]) for one in swaps]

    async def _save_alone(self, tag: int, swap: Swap) -> Outcome | StoreError:
        """What became of one of several swaps; what Redis refuses is about it alone."""
        try:
            (answer,) = await self._masters.write(
                _run, [self._script(tag, "save", *_saving([swap]))]
            )
        except ABOUT_ALL:
            raise
        except StoreError as error:
            return error
        return AGAIN if answer is MOVING else outcome_of(answer[0])

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Later times where key and version stand."""
        calls = []
        for tag, share in self._by_tag(records, _key_of_record).items():
            arguments: list[Any] = []
            for record in share:
                arguments += [record.key, record.version, record.accessed_at, record.expires_at]
            calls.append(self._script(tag, "touch", *arguments))
        await self._ask(self._masters.write, calls)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Remove records; returns the keys of those that were there."""
        shares = self._by_tag(keys, _itself)
        calls = [self._script(tag, "delete", *share) for tag, share in shares.items()]
        run = self._run_on_replicas if self._target.replicas else _run
        return set(chain(*await self._ask(self._masters.write, calls, run)))

    async def find_by_user(self, user_id: str, /) -> Sequence[SessionFacts]:
        """All records of a user, newest first, without their data."""
        calls = self._on_every_tag("find_by_user", json.dumps(user_id))
        lines = chain(*await self._ask(self._masters.read, calls))
        return sorted(
            (facts_of(*line) for line in lines), key=lambda one: (-one.created_at, one.key)
        )

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """The records that have these handles."""
        calls = self._on_every_tag("find_by_handle", *handles) if handles else []
        found = chain(*await self._ask(self._masters.read, calls))
        return [record_of(key, value) for key, value in found]

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[SessionFacts]:
        """The next *limit* records by expiry, then by key, without their data."""
        count = len(self._masters.tags)
        share = limit if count == 1 else 2 * limit // count + 1  # of each; more where they are
        found: list[SessionFacts] = []
        last = dict.fromkeys(range(count), after)  # seen, of the tags that may have more
        while last:
            calls = [
                self._script(tag, "page", share, *(page_order(seen) if seen else ()))
                for tag, seen in last.items()
            ]
            pages = await self._ask(self._masters.scan, calls)
            more: dict[int, Listed | None] = {}
            for tag, lines in zip(last, pages, strict=True):
                facts = [facts_of(*line) for line in lines]
                found += facts
                if len(facts) == share:
                    more[tag] = facts[-1]
            found = heapq.nsmallest(limit, found, key=page_order)
            is_full = len(found) == limit
            last = {
                tag: seen
                for tag, seen in more.items()
                if not is_full or (seen is not None and page_order(seen) < page_order(found[-1]))
            }
        return found

    async def count(self, after: int = 0, /) -> int:
        """How many records expire after a moment."""
        indexes = enumerate(self._masters.indexes)
        calls = [Call(tag, ["ZCOUNT", index, f"({after}", "+inf"]) for tag, index in indexes]
        return sum(await self._ask(self._masters.scan, calls))

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* expired records."""
        purged, tags = 0, [*range(len(self._masters.tags))]
        while tags and (left := limit - purged) > 0:
            asked, share = tags[:left], max(left // len(tags), 1)
            calls = [self._script(tag, "purge", now, share) for tag in asked]
            counts = await self._ask(self._masters.write, calls)
            purged += sum(counts)
            done = {tag for tag, one in zip(asked, counts, strict=True) if one < share}
            tags = [tag for tag in tags if tag not in done]
        return purged

    async def announce(self, handles: Collection[str], /) -> None:
        """Tell every process that listens."""
        await self._masters.write_to_one(_publish, self._channel, " ".join(handles))

    async def announcements(self) -> AsyncGenerator[Collection[str]]:
        """What is announced from now on; holds one connection."""
        client = self._target.connect()
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
            await close(client)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._masters.aclose()

    def _by_tag(
        self, things: Collection[T], key_of: Callable[[T], SessionKey]
    ) -> Mapping[int, Sequence[T]]:
        if self.placement is None:
            return {0: [*things]} if things else {}
        shares: dict[int, list[T]] = defaultdict(list)
        for thing in things:
            shares[self.placement.partition_of(key_of(thing))].append(thing)
        return shares

    def _script(self, tag: int, *arguments: Any) -> Call:
        keys = self._masters.keys[tag]
        return Call(tag, ["EVALSHA", SHA, len(keys), *keys, *arguments])

    def _on_every_tag(self, *arguments: Any) -> Sequence[Call]:
        return [self._script(tag, *arguments) for tag in range(len(self._masters.tags))]

    async def _ask(
        self, verb: Verb, calls: Sequence[Call], run: Run | None = None
    ) -> Sequence[Any]:
        """The answers to *calls*, which *verb* asks the masters.

        While a slot is being moved the calls to it are repeated, for half of the limit.
        """
        if self.placement is None:
            return await verb(run or _run, calls)
        answers: dict[int, Any] = {}
        wait, waiting = Wait(), dict(enumerate(calls))
        while waiting:
            if wait.waited > self.limit_seconds / 2:
                raise failed(StoreUnavailable, "the cluster is moving a slot", None)
            with wait:
                answered = await verb(run or _run, [*waiting.values()])
            answers |= zip([*waiting], answered, strict=True)
            waiting = {place: call for place, call in waiting.items() if answers[place] is MOVING}
        return [answers[place] for place in range(len(calls))]

    async def _run_on_replicas(self, client: Client, calls: Sequence[Call]) -> Sequence[Any]:
        """WAIT is about the writes of its own connection: both go through one, at one node."""
        answers = []
        milliseconds = int(self.limit_seconds * 1000 / 2)
        for tag, command in calls:
            pipeline: Any = client.pipeline(transaction=False)
            node, index = {}, self._masters.indexes[tag]
            if isinstance(client, RedisCluster):
                await client.exists(index)  # follows the cluster to where the key is now
                node = {"target_nodes": client.get_node_from_key(index)}
            pipeline.execute_command(*_with_its_text(command), **node)
            pipeline.execute_command("WAIT", self._target.replicas, milliseconds, **node)
            answer, reached = await _or_moving(pipeline.execute(), [MOVING, math.inf])
            if reached < self._target.replicas:
                raise StoreUnavailable(
                    f"the session store failed: the end of a session reached {reached} replicas, "
                    f"and not {self._target.replicas}"
                )
            answers.append(answer)
        return answers


_itself: Callable[[SessionKey], SessionKey] = SessionKey
_key_of_record: Callable[[SessionRecord], SessionKey] = attrgetter("key")


def _key_of_swap(swap: Swap) -> SessionKey:
    return (swap.old or swap.new).key


def _check_tags(masters: Masters, swaps: Sequence[Swap]) -> None:
    for old, new in swaps:
        if old is not None and masters.partition_of(old.key) != masters.partition_of(new.key):
            raise StoreError(
                "on a Redis Cluster a session keeps to one hash tag: draw the id of a renewal "
                "until store.placement.partition_of() says the same of both keys"
            )


def _saving(swaps: Sequence[Swap]) -> Sequence[Any]:
    arguments: list[Any] = []
    for old, new in swaps:
        standing = (b"", 0) if old is None else (old.key, old.version)
        arguments += [*standing, new.key, value_of(new)]
    return arguments


async def _run(client: Client, calls: Sequence[Call]) -> Sequence[Any]:
    """The answers to *calls*, in one round trip; an error once all of them are answered.

    `MOVING` is the answer to a call that was not made because its slot is being moved.
    """
    if len(calls) == 1:
        return [await _run_alone(client, calls[0].command)]
    pipeline: Any = client.pipeline(transaction=False)
    for call in calls:
        pipeline.execute_command(*call.command)
    answers = await pipeline.execute(raise_on_error=False)
    for place, answer in enumerate(answers):
        if isinstance(answer, NoScriptError):
            answers[place] = await _run_alone(client, calls[place].command)
        elif isinstance(answer, Exception) and _is_moving(answer):
            answers[place] = MOVING
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return cast("Sequence[Any]", answers)


async def _run_alone(client: Client, command: Sequence[Any]) -> Any:
    run: Any = client.execute_command
    try:
        return await _or_moving(run(*command), MOVING)
    except NoScriptError:
        return await _or_moving(run(*_with_its_text(command)), MOVING)


async def _or_moving(call: Awaitable[Any], moving: Any) -> Any:
    """The answer to a *call*, or *moving* when it was not made because its slot is being moved."""
    try:
        return await call
    except ClusterError as error:
        if _is_moving(error):
            return moving
        raise


def _is_moving(error: Exception) -> bool:
    """Whether the client has given up after TRYAGAIN: nothing was done."""
    return isinstance(error, ClusterError) and "TTL exhausted" in str(error)


def _with_its_text(command: Sequence[Any]) -> Sequence[Any]:
    """A call of the script that a server answers which has not seen it yet."""
    return ["EVAL", SCRIPT, *command[2:]]


async def _publish(client: Client, index: str, channel: str, message: str) -> Any:
    """All nodes of a cluster tell each other: the master that has *index* is as good as any."""
    if isinstance(client, RedisCluster):
        node: Any = client.get_node_from_key(index)
        return await client.execute_command("PUBLISH", channel, message, target_nodes=node)
    return await client.publish(channel, message)
