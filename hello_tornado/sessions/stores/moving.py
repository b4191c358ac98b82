"""Two stores as one, while sessions move from the old one to the new one under running servers.

The new store has the last word, and the old one only shrinks: nothing is begun in it. A record that
stands in the old store is read from there. Before it is written to it is *taken over*:

1. In the new store a *place* is kept for it, unless something stands there.
2. In the old store the record is swapped for a *marker*, which holds the same and takes no writes.
3. In the new store the record is swapped for the place.
4. The marker is deleted.

A process that finds a place or a marker continues with the next step, because the process that
made it may have died. A slow process brings no session back: each place is different, and a process
fills only the place that it saw before it read the marker. A logout empties the old store first,
and then the new one. What was read before that finds its place gone, and what is read afterwards is
nothing.

Places and markers have negative versions. A place has expired, so the next purge deletes one that
was left. The moments of a marker are negative, as those of a tombstone are: no purge and no count
sees it, and a page begins with such records.
"""

import heapq
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from hello_tornado.sessions.errors import StoreError, StoreMisconfigured, StoreUnavailable
from hello_tornado.sessions.records.ids import SessionKey
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
from hello_tornado.sessions.records.tombstones import tombstone_key_of
from hello_tornado.sessions.stores import Announcing, Store, placement_of
from hello_tornado.sessions.stores.deadlines import limit_of_store
from hello_tornado.sessions.stores.failures import ABOUT_ALL
from hello_tornado.sessions.stores.takeover import (
    LONG_AGO,
    THE_OTHER_WAY,
    L,
    Records,
    TakeOver,
    emptied,
    is_blocked,
    is_marker,
    is_place,
    is_standing,
    only_standing,
    standing_in_the_new,
    unmarked,
    until_none_is_held,
)

HEAD: Final = 100  # records of a page that begins with the markers and the tombstones


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
        self._take_over = TakeOver(new, old, self.limit_seconds)

    def __str__(self) -> str:
        return str(self._new)

    async def load(self, keys: Collection[SessionKey], /) -> Records:
        """The records under these keys."""
        found = standing_in_the_new(await self._new.load(keys))
        missing = [key for key in keys if key not in found]
        if not missing:
            return found
        in_old = await self._old.load(missing)
        await self._take_over([key for key, one in in_old.items() if is_marker(one)])
        found |= only_standing(in_old)
        # What is in neither may have been moved in between: then it is in the new store by now.
        missing = [key for key in missing if key not in found]
        return found | standing_in_the_new(await self._new.load(missing) if missing else {})

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome | StoreError]:
        """One outcome for each swap, in order."""
        held = await self._take_over(await self._keys_in_the_way(swaps), waits=False)
        outcomes: dict[int, Outcome | StoreError] = {
            number: AGAIN for number, swap in enumerate(swaps) if held & _keys_of(swap)
        }
        free = [number for number in range(len(swaps)) if number not in outcomes]
        outcomes.update(zip(free, await self._new.save([swaps[one] for one in free]), strict=True))
        waiting = [
            number
            for number in free
            if is_blocked(outcomes[number])
            or (swaps[number].old and isinstance(outcomes[number], Gone))
        ]
        if waiting:
            outcomes |= await self._save_what_was_in_the_old(swaps, outcomes, waiting)
        return [_unless_the_other_way(outcomes[number]) for number in range(len(swaps))]

    async def _save_what_was_in_the_old(
        self,
        swaps: Sequence[Swap],
        outcomes: Mapping[int, Outcome | StoreError],
        waiting: Sequence[int],
    ) -> Mapping[int, Outcome | StoreError]:
        """The outcomes of those swaps whose record was not in the new store.

        What the new store refuses is an outcome: other swaps of the call have been written.
        """
        number_of = {(swaps[number].old or swaps[number].new).key: number for number in waiting}
        why: Outcome | StoreError = AGAIN
        in_old = [*await self._old.load(number_of)]
        try:
            held = await self._take_over(in_old, waits=False)
        except ABOUT_ALL:
            raise
        except StoreError as error:
            held, why = {*await self._old.load(in_old)}, error
        later = {number_of[key]: why for key in held}
        asked = [number for number in waiting if number not in later]
        saves = [_into_its_place(swaps[number], outcomes[number]) for number in asked]
        try:
            answers = await self._new.save(saves)
        except ABOUT_ALL:
            raise
        except StoreError as error:
            # Of several it may be about one: the next call asks for them without what is written.
            answers = [error] if len(saves) == 1 else [AGAIN] * len(saves)
        for number, outcome in zip(asked, answers, strict=True):
            later[number] = _second_outcome(swaps[number], outcome)
        return later

    async def _keys_in_the_way(self, swaps: Sequence[Swap]) -> Collection[SessionKey]:
        """Those keys of the old store that a swap to another key is about: nothing may be left.

        A marker under the old id would bring that one back; what stands under the new id is not to
        be written over.
        """
        keys = {new.key for old, new in swaps if old is None or old.key != new.key}
        keys |= {old.key for old, new in swaps if old is not None and old.key != new.key}
        return [*await self._old.load(keys)] if keys else []

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Later times where key and version stand.

        A record is taken over before it is touched: a swap for a marker would take its times back.
        What the new store refuses is touched where it stays.
        """
        in_new = standing_in_the_new(await self._new.load([one.key for one in records]))
        if missing := [one for one in records if one.key not in in_new]:
            try:
                await self._take_over([*await self._old.load([one.key for one in missing])])
            except StoreUnavailable:
                raise
            except StoreError:
                await self._old.touch(missing)
        await self._new.touch(records)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Remove records; returns the keys of the sessions that ended by it.

        A record is swapped for a place before it is deleted. So it is known what stood there last:
        a session that was moved and renewed meanwhile lives on, and is not among them. What stood
        as a marker is not, either, because its session may be in the new store or gone from there.
        """
        in_old = await self._old.load(keys)
        if markers := [key for key, one in in_old.items() if is_marker(one)]:
            try:
                await self._take_over(markers)
            except ABOUT_ALL:
                raise
            except StoreError:
                pass  # the new store refuses it, and it stands in the old one again
            in_old = await self._old.load(keys)
        from_old = await emptied(self._old, in_old)
        if from_old:
            await self._old.delete(from_old)
        in_new = await self._new.load(keys)
        standing_in_the_new(in_new)
        from_new = await emptied(self._new, in_new)
        if from_new:
            await self._new.delete(from_new)
        return {*only_standing(from_old), *only_standing(from_new)}

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
        if places := [one.key for one in page if is_place(one)]:
            await self._old.delete(places)  # left from the move to this store; nothing is in them
        try:
            await self._take_over([one.key for one in page if not is_place(one)])
        except ABOUT_ALL:
            raise
        except StoreError as error:
            return error
        return None

    async def left(self) -> int:
        """How many sessions have not been moved yet."""
        return await self._old.count(LONG_AGO)

    async def _finish(self) -> None:
        """Take over what others have begun to: they may have died.

        What the new store refuses stands in the old one again.
        """
        after: Listed | None = None
        while page := await self._old.page(after, HEAD):
            await self._move_page([one for one in page if is_marker(one)])
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
        outcomes = await _create_all(target, records)
        copied = sum(isinstance(outcome, Saved) for outcome in outcomes)
        yield Copied(copied, len(page) - copied)
        after = page[-1]


async def _create_all(target: Store, records: Sequence[SessionRecord]) -> Sequence[Outcome]:
    """Store new *records*, also where a place was left from a move."""
    swaps = [Swap(None, one) for one in records]
    outcomes = await until_none_is_held(target, swaps)
    standing = [outcome.current for outcome in outcomes if isinstance(outcome, Conflict)]
    standing_in_the_new({one.key: one for one in standing})
    in_places = {
        number: _into_its_place(swaps[number], outcome)
        for number, outcome in enumerate(outcomes)
        if is_blocked(outcome)
    }
    answers = await until_none_is_held(target, [*in_places.values()])
    answered = dict(zip(in_places, answers, strict=True))
    return [answered.get(number, outcome) for number, outcome in enumerate(outcomes)]


async def _page_of(store: Store, after: Listed | None, limit: int) -> Sequence[Listed]:
    """A page of one store, without its places and markers."""
    found: list[Listed] = []
    while len(found) < limit:
        page = await store.page(after, limit)
        found += filter(is_standing, page)
        if len(page) < limit:
            break
        after = page[-1]
    return found[:limit]


def _keys_of(swap: Swap) -> set[SessionKey]:
    return {one.key for one in swap if one is not None}


def _unless_the_other_way(outcome: Outcome | StoreError) -> Outcome | StoreError:
    """An error in the place of an outcome that shows a marker, of which the new store has none."""
    if isinstance(outcome, Conflict) and is_marker(outcome.current):
        return StoreMisconfigured(THE_OTHER_WAY)
    return outcome


def _into_its_place(swap: Swap, outcome: Outcome | StoreError) -> Swap:
    """A swap as it is asked once more; what was to be created goes where a place was left."""
    if swap.old is None and isinstance(outcome, Conflict):
        return Swap(outcome.current, swap.new)
    return swap


def _second_outcome(swap: Swap, outcome: Outcome | StoreError) -> Outcome | StoreError:
    """What became of a swap, when nothing stands in the old store any more."""
    if swap.old is None:
        return AGAIN if is_blocked(outcome) or isinstance(outcome, Gone) else outcome
    return Gone() if is_blocked(outcome) else outcome


def _merged(in_old: Sequence[L], in_new: Sequence[L]) -> list[L]:
    """What both stores list; of what stands in both, what the new one says."""
    moved = {one.handle for one in in_new}
    rest = [one for one in in_old if one.handle not in moved and not is_place(one)]
    return [one for one in in_new if is_standing(one)] + [unmarked(one) for one in rest]
