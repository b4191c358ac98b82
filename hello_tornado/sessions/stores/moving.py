"""Two stores as one, while sessions move from the old one to the new one under running servers.

The new store has the last word, and the old one only shrinks: nothing is begun in it. A record that
stands in the old store is read from there. Before it is written to it is *taken over*:

1. In the new store a *place* is kept for it, unless something stands there.
2. In the old store the record is swapped for a *marker*, which holds the same and takes no writes.
3. In the new store the record is swapped for the place.
4. The marker is deleted.

Whoever finds a place or a marker goes on where another process has stopped, which may have died.
One that slept brings no session back: each place is another one, and a process fills only the place
that it saw before it read the marker. An end deletes from the old store first, and then from the
new one. So what was read before the end finds its place gone, and what is read afterwards is
nothing.

Places and markers have negative versions. A place has expired, so the next purge deletes one that
was left. The moments of a marker are negative, as those of a tombstone are: no purge and no count
sees it, and a page begins with such records.
"""

import asyncio
import heapq
import secrets
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, TypeVar

from hello_tornado.sessions.errors import StoreError, StoreMisconfigured, StoreUnavailable
from hello_tornado.sessions.records.ids import SessionKey, new_handle
from hello_tornado.sessions.records.record import (
    AGAIN,
    Conflict,
    Gone,
    Listed,
    Outcome,
    Saved,
    SessionRecord,
    Swap,
    page_order,
)
from hello_tornado.sessions.records.tombstones import ERA, tombstone_key_of
from hello_tornado.sessions.stores import Announcing, Store, placement_of
from hello_tornado.sessions.stores.deadlines import (
    deadline_of_call,
    did_not_answer,
    limit_of_store,
)

L = TypeVar("L", SessionRecord, Listed)
Records: TypeAlias = Mapping[SessionKey, SessionRecord]

HEAD: Final = 100  # records of a page that begins with the markers and the tombstones
LONG_AGO: Final = 1  # when a place has expired
KEY_BYTES: Final = 32
SAME_STORE: Final = (
    "the store that sessions move from is the one that they move to, in other words: take "
    "moving_from out of the settings, or name the store that was used before"
)
THE_OTHER_WAY: Final = (
    "the store holds sessions that were on their way to another one, and that move was not "
    "finished: let moving_from and the store change places, and run sessions move"
)


class Copied(NamedTuple):
    """Of a page: how many records were copied, and how many the other store had, or had ended."""

    copied: int
    left: int


class MovingStore:
    """Sessions in *new*, and those in *old* that have not been moved yet.

    All processes must use the two stores in this way until the old one is empty; `move` empties it.
    """

    def __init__(self, new: Store, old: Store) -> None:
        self._new = new
        self._old = old
        self.parts = (new, old)
        self.limit_seconds = max(limit_of_store(new), limit_of_store(old))
        self.placement = placement_of(new)
        self._are_two = False  # the stores, as far as we know

    def __str__(self) -> str:
        return str(self._new)

    async def load(self, keys: Collection[SessionKey], /) -> Records:
        """The records under these keys."""
        found = _standing_in_the_new(await self._new.load(keys))
        missing = [key for key in keys if key not in found]
        if not missing:
            return found
        in_old = await self._old.load(missing)
        await self._take_over([key for key, one in in_old.items() if _is_marker(one)])
        found |= _standing(in_old)
        # What is in neither may have been moved in between: then it is in the new store by now.
        missing = [key for key in missing if key not in found]
        return found | _standing_in_the_new(await self._new.load(missing) if missing else {})

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome | StoreError]:
        """One outcome for each swap, in order."""
        await self._take_over(await self._keys_in_the_way(swaps))
        outcomes = [*await self._new.save(swaps)]
        _standing_in_the_new(
            {one.current.key: one.current for one in outcomes if isinstance(one, Conflict)}
        )
        waiting = {
            (old or new).key: number
            for number, (old, new) in enumerate(swaps)
            if _is_blocked(outcomes[number]) or (old and isinstance(outcomes[number], Gone))
        }
        if waiting:
            await self._take_over([*await self._old.load(waiting)])
            numbers = [*waiting.values()]
            later = [_into_its_place(swaps[number], outcomes[number]) for number in numbers]
            for number, outcome in zip(numbers, await self._new.save(later), strict=True):
                outcomes[number] = _second_outcome(swaps[number], outcome)
        return outcomes

    async def _keys_in_the_way(self, swaps: Sequence[Swap]) -> Collection[SessionKey]:
        """Those keys of the old store that a swap to another key is about: nothing may be left.

        A marker under the old id would bring that one back; what stands under the new id is not to
        be written over.
        """
        keys = {new.key for old, new in swaps if old is None or old.key != new.key}
        keys |= {old.key for old, new in swaps if old is not None and old.key != new.key}
        return [*await self._old.load(keys)] if keys else []

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Later times where key and version stand."""
        await self._old.touch(records)
        await self._new.touch(records)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Remove records; returns the keys of those that were there."""
        in_old = await self._old.delete(keys)
        in_new = _standing_in_the_new(await self._new.load(keys))
        deleted = await self._new.delete(keys)
        return {*in_old, *(key for key in deleted if key in in_new)}

    async def find_by_user(self, user_id: str, /) -> Sequence[Listed]:
        """All records of a user, newest first, without their data."""
        # In this order: what is moved in between is found in both stores, and not in none.
        in_old = await self._old.find_by_user(user_id)
        both = _merged(in_old, await self._new.find_by_user(user_id))
        return sorted(both, key=lambda one: (-one.created_at, one.key))

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """The records that have these handles."""
        in_old = await self._old.find_by_handle(handles)
        return _merged(in_old, await self._new.find_by_handle(handles))

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[Listed]:
        """The next *limit* records by expiry, then by key, without their data."""
        in_old = await _page_of(self._old, after, limit)
        await self._finish()  # what was a marker when the old store was read is in the new one now
        in_new = await _page_of(self._new, after, limit)
        return heapq.nsmallest(limit, _merged(in_old, in_new), key=page_order)

    async def count(self, after: int = 0, /) -> int:
        """How many records expire after a moment."""
        after = max(after, LONG_AGO)
        return await self._old.count(after) + await self._new.count(after)

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* expired records."""
        await self._finish()  # or what is purged from the new store might come back by a marker
        purged = await self._new.purge(now, limit)
        return purged + (await self._old.purge(now, limit - purged) if purged < limit else 0)

    async def aclose(self) -> None:
        """Close both."""
        await self._new.aclose()
        await self._old.aclose()

    async def move(self, limit: int) -> AsyncGenerator[int]:
        """Take over what the old store has, in batches of *limit*; yields how many each has moved.

        Tombstones come too, and what has expired: the next purge deletes it. What the new store
        refuses stays in the old one, and is read from there: the rest is moved, and then the last
        refusal is raised.
        """
        while True:
            after: Listed | None = None
            moved = stayed = 0
            refusal: StoreError | None = None
            while page := await self._old.page(after, limit):
                refused = await self._move_page(page)
                staying = len(await self._old.load([one.key for one in page])) if refused else 0
                refusal = refused or refusal
                stayed += staying
                moved += len(page) - staying
                yield len(page) - staying
                after = page[-1]
            if not moved:
                break
        if refusal is not None:
            raise StoreError(
                f"{stayed} records stay in the old store, because the new one refuses them: "
                f"{refusal}"
            ) from refusal

    async def _move_page(self, page: Sequence[Listed]) -> StoreError | None:
        """Take over what a page lists; returns why the new store has refused some of it."""
        if places := [one.key for one in page if _is_place(one)]:
            await self._old.delete(places)  # left from the move to this store; nothing is in them
        try:
            await self._take_over([one.key for one in page if not _is_place(one)])
        except (StoreUnavailable, StoreMisconfigured):
            raise
        except StoreError as error:
            return error
        return None

    async def left(self) -> int:
        """How many sessions have not been moved yet."""
        return await self._old.count(LONG_AGO)

    async def _take_over(self, keys: Collection[SessionKey]) -> None:
        """See that what stands in the old store under these keys stands in the new one instead.

        What the new store refuses stands in the old one again, and the error is raised when the
        rest is done.
        """
        deadline = deadline_of_call(self.limit_seconds)
        while keys:
            await self._prove_that_they_are_two()
            places = await self._places_of(keys)
            done = {key for key in keys if key not in places}  # something stands there
            markers = await self._markers_of(places)
            swaps = [Swap(places[key], _unmarked(marker)) for key, marker in markers.items()]
            try:
                outcomes = await _save_all(self._new, swaps)
            except StoreUnavailable:
                raise
            except StoreError as error:
                await self._after_a_refusal(markers, error)
                outcomes = []
            keys = []
            for swap, outcome in zip(swaps, outcomes, strict=False):
                if isinstance(outcome, Saved):
                    done.add(swap.new.key)
                else:  # the place is gone: somebody was first
                    keys.append(swap.new.key)
            if done:
                await self._old.delete(done)
            if asyncio.get_running_loop().time() > deadline:
                raise did_not_answer()

    async def _after_a_refusal(self, markers: Records, error: StoreError) -> None:
        """Take over each of several records alone; a single one stands in the old store again."""
        if len(markers) == 1:
            await _save_all(self._old, [Swap(one, _unmarked(one)) for one in markers.values()])
            raise error
        refusal = None
        for key in markers:
            try:
                await self._take_over([key])
            except StoreUnavailable:
                raise
            except StoreError as one:
                refusal = one
        if refusal is not None:
            raise refusal

    async def _prove_that_they_are_two(self) -> None:
        """Raise if both URLs lead to the same store: what has moved would be deleted there."""
        if self._are_two:
            return
        place = _place(SessionKey(secrets.token_bytes(KEY_BYTES)))
        await _save_all(self._new, [Swap(None, place)])
        found = await self._old.load([place.key])
        await self._new.delete([place.key])
        if found:
            raise StoreMisconfigured(SAME_STORE)
        self._are_two = True

    async def _places_of(self, keys: Collection[SessionKey]) -> Records:
        """The places that are kept in the new store for those keys under which no record stands."""
        swaps = [Swap(None, _place(key)) for key in keys]
        outcomes = await _save_all(self._new, swaps)
        standing = [
            outcome.current if isinstance(outcome, Conflict) else swap.new
            for swap, outcome in zip(swaps, outcomes, strict=True)
        ]
        found = {one.key: one for one in standing}
        taken = _standing_in_the_new(found)
        return {key: one for key, one in found.items() if key not in taken}

    async def _markers_of(self, keys: Collection[SessionKey]) -> Records:
        """The markers in the old store for what stands there under these keys."""
        markers: dict[SessionKey, SessionRecord] = {}
        standing = [*(await self._old.load(keys)).values()] if keys else []
        while standing:
            markers |= {one.key: one for one in standing if _is_marker(one)}
            swaps = [Swap(one, _marker(one)) for one in standing if _is_standing(one)]
            standing = []
            for swap, outcome in zip(swaps, await _save_all(self._old, swaps), strict=True):
                if isinstance(outcome, Saved):
                    markers[swap.new.key] = swap.new
                elif isinstance(outcome, Conflict):
                    standing.append(outcome.current)
        return markers

    async def _finish(self) -> None:
        """Take over what others have begun to: they may have died.

        What the new store refuses stands in the old one again.
        """
        after: Listed | None = None
        while page := await self._old.page(after, HEAD):
            await self._move_page([one for one in page if _is_marker(one)])
            after = page[-1]
            if after.expires_at > 0:
                return


class AnnouncingMovingStore(MovingStore):
    """A `MovingStore` whose new store can announce ends."""

    async def announce(self, handles: Collection[str], /) -> None:
        """Tell every process that listens."""
        assert isinstance(self._new, Announcing)  # noqa: S101 - moving_store() has seen it
        await self._new.announce(handles)

    def announcements(self) -> AsyncGenerator[Collection[str]]:
        """What is announced from now on."""
        assert isinstance(self._new, Announcing)  # noqa: S101 - moving_store() has seen it
        return self._new.announcements()


def moving_store(new: Store, old: Store) -> MovingStore:
    """The two stores as one, which announces ends if the new one does."""
    kind = AnnouncingMovingStore if isinstance(new, Announcing) else MovingStore
    return kind(new, old)


async def copies(origin: Store, target: Store, limit: int) -> AsyncGenerator[Copied]:
    """Copy the records of *origin* to *target*, *limit* at a time, while nobody uses either.

    What the target has already stays as it is, and what has ended there is left out, for as long as
    a tombstone says so. `StoreMisconfigured` when a move between stores was not finished.
    """
    after: Listed | None = None
    while page := await origin.page(after, limit):
        keys = [one.key for one in page]
        ended = await target.load([tombstone_key_of(key) for key in keys])
        records = [
            one
            for key, one in (await origin.load(keys)).items()
            if tombstone_key_of(key) not in ended
        ]
        if any(one.version < 0 for one in records):
            raise StoreMisconfigured(
                "a move from or to this store was not finished: run sessions move before a copy"
            )
        outcomes = await _save_all(target, [Swap(None, one) for one in records])
        copied = sum(isinstance(outcome, Saved) for outcome in outcomes)
        yield Copied(copied, len(page) - copied)
        after = page[-1]


async def _save_all(store: Store, swaps: Sequence[Swap]) -> Sequence[Outcome]:
    """The outcomes of *swaps*; where a store says `AGAIN`, it is asked again.

    What it refuses is raised when the rest is done.
    """
    deadline = deadline_of_call(limit_of_store(store))
    outcomes: dict[int, Outcome | StoreError] = {}
    asked = [*range(len(swaps))]
    while asked:
        answers = await store.save([swaps[number] for number in asked])
        outcomes.update(zip(asked, answers, strict=True))
        asked = [number for number in asked if outcomes[number] is AGAIN]
        if asked and asyncio.get_running_loop().time() > deadline:
            raise did_not_answer()
    done = [outcomes[number] for number in range(len(swaps))]
    for outcome in done:
        if isinstance(outcome, StoreError):
            raise outcome
    return [outcome for outcome in done if not isinstance(outcome, StoreError)]


async def _page_of(store: Store, after: Listed | None, limit: int) -> Sequence[Listed]:
    """A page of one store, without its places and markers."""
    found: list[Listed] = []
    while len(found) < limit:
        page = await store.page(after, limit)
        found += filter(_is_standing, page)
        if len(page) < limit:
            break
        after = page[-1]
    return found[:limit]


def _is_place(record: Listed) -> bool:
    return record.version < 0 and record.expires_at == LONG_AGO


def _is_marker(record: Listed) -> bool:
    return record.version < 0 and record.expires_at != LONG_AGO


def _is_standing(record: Listed) -> bool:
    return record.version > 0


def _standing(found: Records) -> dict[SessionKey, SessionRecord]:
    """Those that are neither places nor markers."""
    return {key: one for key, one in found.items() if _is_standing(one)}


def _standing_in_the_new(found: Records) -> dict[SessionKey, SessionRecord]:
    """The same, of the new store: in that there are no markers, unless it was an old one before."""
    if any(map(_is_marker, found.values())):
        raise StoreMisconfigured(THE_OTHER_WAY)
    return _standing(found)


def _into_its_place(swap: Swap, outcome: Outcome | StoreError) -> Swap:
    """A swap as it is asked once more; what was to be created goes where a place was left."""
    if swap.old is None and isinstance(outcome, Conflict):
        return Swap(outcome.current, swap.new)
    return swap


def _second_outcome(swap: Swap, outcome: Outcome | StoreError) -> Outcome | StoreError:
    """What became of a swap, when nothing stands in the old store any more."""
    if swap.old is None:
        return AGAIN if _is_blocked(outcome) or isinstance(outcome, Gone) else outcome
    return Gone() if _is_blocked(outcome) else outcome


def _is_blocked(outcome: Outcome | StoreError) -> bool:
    """Whether a place was in the way."""
    return isinstance(outcome, Conflict) and _is_place(outcome.current)


def _place(key: SessionKey) -> SessionRecord:
    version = -1 - secrets.randbits(30)
    return SessionRecord(key, new_handle(), version, None, b"", LONG_AGO, LONG_AGO, LONG_AGO)


def _marker(record: SessionRecord) -> SessionRecord:
    return record._replace(
        version=-record.version,
        accessed_at=record.accessed_at - ERA,
        expires_at=record.expires_at - ERA,
    )


def _unmarked(record: L) -> L:
    if not _is_marker(record):
        return record
    accessed_at, expires_at = record.accessed_at + ERA, record.expires_at + ERA
    return record._replace(version=-record.version, accessed_at=accessed_at, expires_at=expires_at)


def _merged(in_old: Sequence[L], in_new: Sequence[L]) -> list[L]:
    """What both stores list; of what stands in both, what the new one says."""
    moved = {one.handle for one in in_new}
    rest = [one for one in in_old if one.handle not in moved and not _is_place(one)]
    return [one for one in in_new if _is_standing(one)] + [_unmarked(one) for one in rest]
