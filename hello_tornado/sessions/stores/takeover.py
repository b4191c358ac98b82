"""How records are taken over from an old store to a new one; `moving.py` says why."""

import asyncio
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar

from hello_tornado.sessions.errors import StoreError, StoreMisconfigured, StoreUnavailable
from hello_tornado.sessions.records.ids import SessionKey, new_handle
from hello_tornado.sessions.records.record import (
    AGAIN,
    Conflict,
    Listed,
    Outcome,
    Saved,
    SessionRecord,
    Swap,
)
from hello_tornado.sessions.records.tombstones import ERA
from hello_tornado.sessions.stores import Store
from hello_tornado.sessions.stores.deadlines import (
    deadline_of_call,
    did_not_answer,
    limit_of_store,
)

L = TypeVar("L", SessionRecord, Listed)
Records: TypeAlias = Mapping[SessionKey, SessionRecord]

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


class TakeOver:
    """Takes records over from *old* to *new*; a call may last *limit* seconds."""

    def __init__(self, new: Store, old: Store, limit: float) -> None:
        self._new = new
        self._old = old
        self._limit = limit
        self._are_two = False  # the stores, as far as we know

    async def __call__(
        self, keys: Collection[SessionKey], *, waits: bool = True
    ) -> set[SessionKey]:
        """See that what stands in the old store under these keys stands in the new one instead.

        What the new store refuses stands in the old one again, and the error is raised when the
        rest is done. Returns the keys of rows that somebody else holds; it may *wait* for those.
        """
        deadline = deadline_of_call(self._limit)
        waiting, held = {*keys}, set[SessionKey]()
        while waiting:
            await self._prove_that_they_are_two(next(iter(waiting)))
            places, held_in_new = await self._places_of(waiting)
            done = waiting - {*places} - held_in_new  # something stands there
            markers, held_in_old = await self._markers_of({*places})
            swaps = [Swap(places[key], unmarked(marker)) for key, marker in markers.items()]
            try:
                outcomes = await save_all(self._new, swaps)
            except StoreUnavailable:
                raise
            except StoreError as error:
                await self._after_a_refusal(markers, error)
                swaps, outcomes = [], []
            keys_of = [swap.new.key for swap in swaps]
            done |= {key for key, one in zip(keys_of, outcomes, strict=True) if one == Saved()}
            if done:
                await self._old.delete(done)
            held_here = {key for key, one in zip(keys_of, outcomes, strict=True) if one is AGAIN}
            held_here |= held_in_new | held_in_old
            waiting = {*keys_of} - done - held_here  # the place is gone: somebody was first
            if waits:
                waiting |= held_here
            else:
                held |= held_here
            if waiting and asyncio.get_running_loop().time() > deadline:
                raise did_not_answer()
        return held

    async def _after_a_refusal(self, markers: Records, error: StoreError) -> None:
        """Take over each of several records alone; a single one stands in the old store again."""
        if len(markers) == 1:
            back = [Swap(one, unmarked(one)) for one in markers.values()]
            await until_none_is_held(self._old, back)
            raise error
        refusal = None
        for key in markers:
            try:
                await self([key])
            except StoreUnavailable:
                raise
            except StoreError as one:
                refusal = one
        if refusal is not None:
            raise refusal

    async def _prove_that_they_are_two(self, key: SessionKey) -> None:
        """Raise if both URLs lead to the same store: what has moved would be deleted there.

        Asks the servers that have *key*.
        """
        while not self._are_two:
            place = new_place(SessionKey(key[:1] + secrets.token_bytes(KEY_BYTES - 1)))
            await save_all(self._new, [Swap(None, place)])
            in_old = await self._old.load([place.key])
            is_there = await self._new.load([place.key])  # and no purge has taken it meanwhile
            await self._new.delete([place.key])
            if in_old:
                raise StoreMisconfigured(SAME_STORE)
            self._are_two = bool(is_there)

    async def _places_of(self, keys: Collection[SessionKey]) -> tuple[Records, set[SessionKey]]:
        """The places that are kept in the new store for those keys under which no record stands.

        Besides, the keys of rows that somebody holds.
        """
        swaps = [Swap(None, new_place(key)) for key in keys]
        outcomes = await save_all(self._new, swaps)
        held = {swap.new.key for swap, one in zip(swaps, outcomes, strict=True) if one is AGAIN}
        standing = [
            outcome.current if isinstance(outcome, Conflict) else swap.new
            for swap, outcome in zip(swaps, outcomes, strict=True)
            if outcome is not AGAIN
        ]
        found = {one.key: one for one in standing}
        taken = standing_in_the_new(found)
        return {key: one for key, one in found.items() if key not in taken}, held

    async def _markers_of(self, keys: Collection[SessionKey]) -> tuple[Records, set[SessionKey]]:
        """The markers in the old store for what stands there under these keys.

        Besides, the keys of rows that somebody holds.
        """
        markers: dict[SessionKey, SessionRecord] = {}
        held: set[SessionKey] = set()
        standing = [*(await self._old.load(keys)).values()] if keys else []
        while standing:
            markers |= {one.key: one for one in standing if is_marker(one)}
            swaps = [Swap(one, marker_of(one)) for one in standing if is_standing(one)]
            standing = []
            for swap, outcome in zip(swaps, await save_all(self._old, swaps), strict=True):
                if isinstance(outcome, Saved):
                    markers[swap.new.key] = swap.new
                elif isinstance(outcome, Conflict):
                    standing.append(outcome.current)
                elif outcome is AGAIN:
                    held.add(swap.new.key)
        return markers, held


async def emptied(store: Store, standing: Records) -> Records:
    """What stood last under the keys of *standing*, and is swapped for places that nobody fills."""
    emptied: dict[SessionKey, SessionRecord] = {}
    left = [*standing.values()]
    while left:
        swaps = [Swap(one, new_place(one.key)) for one in left]
        outcomes = await until_none_is_held(store, swaps)
        for swap, outcome in zip(swaps, outcomes, strict=True):
            if isinstance(outcome, Saved) and swap.old is not None:
                emptied[swap.old.key] = swap.old
        left = [outcome.current for outcome in outcomes if isinstance(outcome, Conflict)]
    return emptied


async def until_none_is_held(store: Store, swaps: Sequence[Swap]) -> Sequence[Outcome]:
    """The outcomes of *swaps*; where a store says `AGAIN`, it is asked again."""
    deadline = deadline_of_call(limit_of_store(store))
    outcomes: dict[int, Outcome] = {}
    asked = [*range(len(swaps))]
    while asked:
        answers = await save_all(store, [swaps[number] for number in asked])
        outcomes.update(zip(asked, answers, strict=True))
        asked = [number for number in asked if outcomes[number] is AGAIN]
        if asked and asyncio.get_running_loop().time() > deadline:
            raise did_not_answer()
    return [outcomes[number] for number in range(len(swaps))]


async def save_all(store: Store, swaps: Sequence[Swap]) -> Sequence[Outcome]:
    """The outcomes of *swaps*. What the store refuses is raised when the rest is done."""
    answers = await store.save(swaps) if swaps else ()
    for answer in answers:
        if isinstance(answer, StoreError):
            raise answer
    return [answer for answer in answers if not isinstance(answer, StoreError)]


def is_place(record: Listed) -> bool:
    """Whether it keeps a place in the new store."""
    return record.version < 0 and record.expires_at == LONG_AGO


def is_marker(record: Listed) -> bool:
    """Whether it stands in the old store for what is being taken over."""
    return record.version < 0 and record.expires_at != LONG_AGO


def is_standing(record: Listed) -> bool:
    """Whether it is a session or a tombstone."""
    return record.version > 0


def only_standing(found: Records) -> dict[SessionKey, SessionRecord]:
    """Those that are neither places nor markers."""
    return {key: one for key, one in found.items() if is_standing(one)}


def standing_in_the_new(found: Records) -> dict[SessionKey, SessionRecord]:
    """The same, of the new store: in that there are no markers, unless it was an old one before."""
    if any(map(is_marker, found.values())):
        raise StoreMisconfigured(THE_OTHER_WAY)
    return only_standing(found)


def is_blocked(outcome: Outcome | StoreError) -> bool:
    """Whether a place was in the way."""
    return isinstance(outcome, Conflict) and is_place(outcome.current)


def new_place(key: SessionKey) -> SessionRecord:
    """A place for what stands under *key*, like no other one."""
    version = -1 - secrets.randbits(30)
    return SessionRecord(key, new_handle(), version, None, b"", LONG_AGO, LONG_AGO, LONG_AGO)


def marker_of(record: SessionRecord) -> SessionRecord:
    """The marker that holds the same as *record*."""
    return record._replace(
        version=-record.version,
        accessed_at=record.accessed_at - ERA,
        expires_at=record.expires_at - ERA,
    )


def unmarked(record: L) -> L:
    """What a marker holds; any other record as it is."""
    if not is_marker(record):
        return record
    accessed_at, expires_at = record.accessed_at + ERA, record.expires_at + ERA
    return record._replace(version=-record.version, accessed_at=accessed_at, expires_at=expires_at)
