"""Stores that break a promise on purpose. A campaign that does not notice them proves nothing."""

import asyncio
import json
import os
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import Conflict, Outcome, Saved, SessionRecord, Swap

SELDOM = 0.2


class Broken:
    """A store that does all that the store beneath it does; its subclasses break one thing."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __getattr__(self, verb: str) -> Any:
        return getattr(self.store, verb)


class Forgets(Broken):
    """Acknowledges some saves that it does not do."""

    async def save(self, swaps: Sequence[Swap]) -> Sequence[Outcome]:
        kept = [swap for swap in swaps if swap.old is None or random.random() > SELDOM]
        outcomes = dict(zip(map(id, kept), await self.store.save(kept), strict=True))
        return [outcomes.get(id(swap), Saved()) for swap in swaps]


class Overwrites(Broken):
    """Does not compare before it swaps: the later of two parallel saves wins."""

    async def save(self, swaps: Sequence[Swap]) -> Sequence[Outcome]:
        keys = [swap.old.key for swap in swaps if swap.old is not None]
        stored = await self.store.load(keys)
        forced = [
            Swap(stored[old.key], new._replace(version=stored[old.key].version + 1))
            if old is not None and old.key in stored
            else Swap(old, new)
            for old, new in swaps
        ]
        return await self.store.save(forced)


class Repeats(Broken):
    """Reports a conflict after some saves that it did, so that they are done again."""

    async def save(self, swaps: Sequence[Swap]) -> Sequence[Outcome]:
        return [
            Conflict(swap.new) if outcome == Saved() and self.is_repeated(swap) else outcome
            for swap, outcome in zip(swaps, await self.store.save(swaps), strict=True)
        ]

    def is_repeated(self, swap: Swap) -> bool:
        return swap.old is not None and swap.old.key == swap.new.key and random.random() < SELDOM


class KeepsOldIds(Broken):
    """Leaves the record of the old id in place when a login gives the session a new id."""

    async def save(self, swaps: Sequence[Swap]) -> Sequence[Outcome]:
        return await self.store.save(
            [
                Swap(None, swap.new) if swap.old and swap.old.key != swap.new.key else swap
                for swap in swaps
            ]
        )


class KeepsEnded(Broken):
    """Acknowledges logouts that it does not do."""

    async def delete(self, keys: Collection[SessionKey]) -> Collection[SessionKey]:
        return keys


class Revives(Broken):
    """Deletes, and writes the record again a little later."""

    async def delete(self, keys: Collection[SessionKey]) -> Collection[SessionKey]:
        records = await self.store.load(keys)
        deleted = await self.store.delete(keys)
        asyncio.get_running_loop().call_later(0.5, self.write_again, [*records.values()])
        return deleted

    def write_again(self, records: Sequence[SessionRecord]) -> None:
        self.task = asyncio.create_task(self.replace(records))

    async def replace(self, records: Sequence[SessionRecord]) -> None:
        await self.store.delete([record.key for record in records])
        await self.store.save([Swap(None, record) for record in records])


class Mixes(Broken):
    """Answers some loads with the record of another session of the same batch."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.last: SessionRecord | None = None

    async def load(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, SessionRecord]:
        records = dict(await self.store.load(keys))
        for key, record in records.items():
            if self.last is not None and random.random() < SELDOM:
                records[key] = self.last
            self.last = record
        return records


class Misses(Broken):
    """Does not find some records that are there, as a store that takes an error for an absence."""

    async def load(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, SessionRecord]:
        records = await self.store.load(keys)
        return {key: record for key, record in records.items() if random.random() > SELDOM}


class Tears(Broken):
    """Stores one half of some writes."""

    async def save(self, swaps: Sequence[Swap]) -> Sequence[Outcome]:
        return await self.store.save([Swap(old, self.torn(new)) for old, new in swaps])

    def torn(self, record: SessionRecord) -> SessionRecord:
        document = json.loads(record.data)
        if "left" not in document.get("data", {}) or random.random() > SELDOM:
            return record
        document["data"]["left"] = "torn"
        return record._replace(data=json.dumps(document).encode())


class Hangs(Broken):
    """Does not answer some loads, ever."""

    async def load(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, SessionRecord]:
        if random.random() < SELDOM / 10:
            await asyncio.Event().wait()
        return await self.store.load(keys)


class Leaks(Broken):
    """Opens a connection for each save, and closes none."""

    async def save(self, swaps: Sequence[Swap]) -> Sequence[Outcome]:
        os.open(str(self.store).partition(":///")[2], os.O_RDONLY)
        return await self.store.save(swaps)


class Fails(Broken):
    """Raises what no caller knows."""

    async def load(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, SessionRecord]:
        if random.random() < SELDOM / 10:
            raise LookupError("a bug")
        return await self.store.load(keys)


BROKEN: Mapping[str, type[Broken]] = {
    "lost acknowledgement": Forgets,
    "lost update": Overwrites,
    "done twice": Repeats,
    "accepted after logout": KeepsEnded,
    "accepted after login": KeepsOldIds,
    "revived": Revives,
    "read of another's session": Mixes,
    "anonymous answer": Misses,
    "torn": Tears,
    "hung": Hangs,
    "leaked connections": Leaks,
    "answered 500": Fails,
}
"""By what a campaign has to find; a store breaks more than one promise, as a rule."""
