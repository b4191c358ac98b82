"""The contract of a store, as tests: subclass `StoreContract`, and your store proves itself.

    class TestMyStore(StoreContract):
        def make_store(self) -> Store:
            return MyStore()

Collected by pytest or any runner that calls methods named test_…; no plug-in is needed.
"""

import asyncio
import functools
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hello_tornado.sessions.records.ids import SessionKey, new_handle
from hello_tornado.sessions.records.record import (
    Conflict,
    Gone,
    Listed,
    Saved,
    SessionFacts,
    SessionRecord,
    Swap,
)
from hello_tornado.sessions.stores import Store

NOW = 1_700_000_000_000_000  # long ago: no store's own clock is behind it
HOUR = 3_600_000_000


def make_record(**fields: Any) -> SessionRecord:
    """A record that no other one resembles, but for the *fields* given."""
    defaults: dict[str, Any] = {
        "key": SessionKey(secrets.token_bytes(32)),
        "handle": new_handle(),
        "version": 1,
        "user_id": None,
        "data": b"{}",
        "created_at": NOW,
        "accessed_at": NOW,
        "expires_at": NOW + HOUR,
    }
    return SessionRecord(**(defaults | fields))


def newer(record: SessionRecord, **fields: Any) -> SessionRecord:
    """The next version of a record."""
    return record._replace(version=record.version + 1, **fields)


def renewed(record: SessionRecord, **fields: Any) -> SessionRecord:
    """The next version of a record, under another key with the same first byte (`Placement`)."""
    return newer(record, key=SessionKey(record.key[:1] + secrets.token_bytes(31)), **fields)


def _promise(
    test: Callable[["StoreContract", Store], Awaitable[None]],
) -> Callable[["StoreContract"], None]:
    """A test of one promise: on an event loop and a store of its own."""

    @functools.wraps(test)
    def run(self: "StoreContract") -> None:
        async def scenario() -> None:
            store = self.make_store()
            try:
                await test(self, store)
            finally:
                await store.aclose()

        asyncio.run(scenario())

    del run.__wrapped__  # or pytest would look for a fixture "store"
    return run


async def _load(store: Store, key: SessionKey) -> SessionRecord | None:
    return (await store.load([key])).get(key)


async def _find(store: Store, user_id: str) -> list[SessionFacts]:
    return _facts(await store.find_by_user(user_id))


def _facts(found: Sequence[Listed]) -> list[SessionFacts]:
    """What was *found*, without the data that a store may list besides."""
    return [one.facts if isinstance(one, SessionRecord) else one for one in found]


async def _create(store: Store, *records: SessionRecord) -> None:
    assert await store.save([Swap(None, record) for record in records]) == [Saved()] * len(records)


class StoreContract:
    """Every promise that the rest of the library relies on."""

    def make_store(self) -> Store:
        """A store that holds nothing yet; called once for each test."""
        raise NotImplementedError

    @_promise
    async def test_a_record_is_loaded_as_it_was_saved(self, store: Store) -> None:
        """Every field comes back as it went in."""
        record = make_record(user_id="Ada", data=b'{"data":{"a":1}}', accessed_at=NOW + 1)
        await _create(store, record)
        assert await _load(store, record.key) == record

    @_promise
    async def test_a_load_leaves_out_what_is_not_there(self, store: Store) -> None:
        """Of many keys, the records that stand; of none, none."""
        one, two, other = make_record(), make_record(), make_record()
        await _create(store, one, two)
        found = await store.load([one.key, other.key, two.key])
        assert dict(found) == {one.key: one, two.key: two}
        assert dict(await store.load([])) == {}

    @_promise
    async def test_many_records_are_loaded_and_saved_at_once(self, store: Store) -> None:
        """A batch of 256 is nothing special."""
        records = [make_record() for _ in range(256)]
        await _create(store, *records)
        assert len(await store.load([record.key for record in records])) == 256
        changed = [newer(record, data=b"2") for record in records]
        swaps = [Swap(*pair) for pair in zip(records, changed, strict=True)]
        assert await store.save(swaps) == [Saved()] * 256

    @_promise
    async def test_the_data_is_opaque(self, store: Store) -> None:
        """Every byte, NUL included, and a mebibyte of them."""
        odd = make_record(data=bytes(range(256)))
        big = make_record(data=secrets.token_bytes(1024 * 1024))
        await _create(store, odd, big)
        assert await _load(store, odd.key) == odd
        assert await _load(store, big.key) == big
        swapped = [Swap(odd, newer(odd, data=big.data)), Swap(big, newer(big, data=odd.data))]
        assert await store.save(swapped) == [Saved(), Saved()]
        assert await _load(store, odd.key) == swapped[0].new
        assert await _load(store, big.key) == swapped[1].new

    @_promise
    async def test_keys_that_differ_in_one_bit_are_different(self, store: Store) -> None:
        """Also in what would be the case of a letter, a trailing blank or NUL."""
        for last, other in ((b"a", b"A"), (b" ", b"\0"), (b"\xff", b"\xfe")):
            one = make_record(key=SessionKey(b"k" * 31 + last))
            two = make_record(key=SessionKey(b"k" * 31 + other))
            await _create(store, one, two)
            assert await _load(store, one.key) == one
            assert await _load(store, two.key) == two

    @_promise
    async def test_create_never_overwrites(self, store: Store) -> None:
        """A second record under the same key is a conflict with the first."""
        first = make_record(data=b"first")
        await _create(store, first)
        second = make_record(key=first.key, data=b"second")
        assert await store.save([Swap(None, second)]) == [Conflict(first)]
        assert await _load(store, first.key) == first

    @_promise
    async def test_a_save_replaces_the_version_it_was_made_from(self, store: Store) -> None:
        """All fields, not only the data."""
        old = make_record()
        await _create(store, old)
        new = newer(
            old, user_id="Ada", data=b"new", created_at=NOW + 1, accessed_at=NOW + 2, expires_at=7
        )
        assert await store.save([Swap(old, new)]) == [Saved()]
        assert await _load(store, old.key) == new

    @_promise
    async def test_of_the_old_record_only_key_and_version_count(self, store: Store) -> None:
        """Whatever else the caller believes of it, what stands is what is replaced."""
        old = make_record(user_id="ada", expires_at=NOW + HOUR)
        await _create(store, old)
        imagined = old._replace(user_id="eve", data=b"?", handle=new_handle(), expires_at=NOW - 1)
        new = newer(old, user_id="bob", expires_at=NOW)
        assert await store.save([Swap(imagined, new)]) == [Saved()]
        assert await _find(store, "ada") == []
        assert await _find(store, "bob") == [new.facts]
        assert await store.purge(NOW, 10) == 1

    @_promise
    async def test_a_stale_version_conflicts_with_the_winner(self, store: Store) -> None:
        """The outcome carries what won, so that the loser need not read again."""
        old = make_record()
        await _create(store, old)
        winner, loser = newer(old, data=b"winner"), newer(old, data=b"loser")
        assert await store.save([Swap(old, winner)]) == [Saved()]
        assert await store.save([Swap(old, loser)]) == [Conflict(winner)]
        assert await _load(store, old.key) == winner

    @_promise
    async def test_a_save_never_revives(self, store: Store) -> None:
        """What was deleted is gone, and stays so."""
        old = make_record()
        await _create(store, old)
        await store.delete([old.key])
        assert await store.save([Swap(old, newer(old))]) == [Gone()]
        assert await _load(store, old.key) is None

    @_promise
    async def test_a_renewal_kills_the_old_key(self, store: Store) -> None:
        """One step: the new key stands, the old one does not."""
        old = make_record(data=b"kept")
        await _create(store, old)
        new = renewed(old)
        assert await store.save([Swap(old, new)]) == [Saved()]
        assert await _load(store, new.key) == new
        assert await _load(store, old.key) is None
        assert await store.save([Swap(old, newer(old))]) == [Gone()]

    @_promise
    async def test_of_two_renewals_one_wins(self, store: Store) -> None:
        """The other one's id never comes to life."""
        old = make_record()
        await _create(store, old)
        first, second = renewed(old), renewed(old)
        assert await store.save([Swap(old, first)]) == [Saved()]
        assert await store.save([Swap(old, second)]) == [Gone()]
        assert await _load(store, second.key) is None

    @_promise
    async def test_a_renewal_of_a_stale_version_conflicts(self, store: Store) -> None:
        """Nothing appears under the new key."""
        old = make_record()
        await _create(store, old)
        winner, loser = newer(old), renewed(old)
        await store.save([Swap(old, winner)])
        assert await store.save([Swap(old, loser)]) == [Conflict(winner)]
        assert await _load(store, loser.key) is None

    @_promise
    async def test_a_renewal_never_takes_a_strangers_key(self, store: Store) -> None:
        """A collision is a conflict with the stranger, and both sessions stay as they were."""
        old = make_record()
        stranger = make_record(key=renewed(old).key, data=b"stranger")
        await _create(store, old, stranger)
        assert await store.save([Swap(old, newer(old, key=stranger.key))]) == [Conflict(stranger)]
        assert await _load(store, old.key) == old
        assert await _load(store, stranger.key) == stranger

    @_promise
    async def test_a_loser_does_not_fail_its_batch(self, store: Store) -> None:
        """Each swap of a call has an outcome of its own, in the order of the call."""
        kept, stale, gone, taken = (make_record() for _ in range(4))
        await _create(store, kept, stale, gone, taken)
        winner = newer(stale)
        await store.save([Swap(stale, winner)])
        await store.delete([gone.key])
        fresh = make_record()
        outcomes = await store.save(
            [
                Swap(gone, newer(gone)),
                Swap(None, make_record(key=taken.key)),
                Swap(kept, newer(kept)),
                Swap(stale, newer(stale)),
                Swap(None, fresh),
            ]
        )
        assert outcomes == [Gone(), Conflict(taken), Saved(), Conflict(winner), Saved()]
        assert await _load(store, kept.key) == newer(kept)
        assert await _load(store, fresh.key) == fresh

    @_promise
    async def test_of_many_concurrent_swaps_exactly_one_wins(self, store: Store) -> None:
        """32 at once, all made from the same version."""
        old = make_record()
        await _create(store, old)
        swaps = [Swap(old, newer(old, data=str(n).encode())) for n in range(32)]
        outcomes = [
            outcome
            for outcomes in await asyncio.gather(*(store.save([swap]) for swap in swaps))
            for outcome in outcomes
        ]
        (winner,) = (i for i, outcome in enumerate(outcomes) if outcome == Saved())
        assert outcomes.count(Conflict(swaps[winner].new)) == 31
        assert await _load(store, old.key) == swaps[winner].new

    @_promise
    async def test_a_touch_moves_the_times_and_nothing_else(self, store: Store) -> None:
        """The version stands, so that a save made before it still succeeds."""
        old = make_record(data=b"data", user_id="Ada")
        await _create(store, old)
        touched = old._replace(accessed_at=NOW + 5, expires_at=NOW + HOUR + 5)
        await store.touch([touched._replace(data=b"ignored", user_id="Eve")])
        assert await _load(store, old.key) == touched
        assert await store.save([Swap(old, newer(old))]) == [Saved()]

    @_promise
    async def test_a_touch_never_goes_back(self, store: Store) -> None:
        """Of two touches in the wrong order the later moment stands."""
        old = make_record()
        later = old._replace(accessed_at=NOW + 9, expires_at=NOW + HOUR + 9)
        earlier = old._replace(accessed_at=NOW + 3, expires_at=NOW + HOUR + 3)
        await _create(store, old)
        await store.touch([later])
        await store.touch([earlier])
        assert await _load(store, old.key) == later

    @_promise
    async def test_a_touch_never_creates(self, store: Store) -> None:
        """A session that ended under the request stays ended; its neighbours are touched."""
        gone, kept = make_record(), make_record()
        await _create(store, gone, kept)
        await store.delete([gone.key])
        later = [
            one._replace(accessed_at=NOW + 1, expires_at=NOW + HOUR + 1) for one in (gone, kept)
        ]
        await store.touch(later)
        assert dict(await store.load([gone.key, kept.key])) == {kept.key: later[1]}
        await store.touch([])

    @_promise
    async def test_a_touch_of_another_version_does_nothing(self, store: Store) -> None:
        """Whoever saved meanwhile has set the times, perhaps to a shorter life."""
        old = make_record()
        await _create(store, old)
        saved = newer(old, expires_at=NOW + 10)
        await store.save([Swap(old, saved)])
        await store.touch([old._replace(accessed_at=NOW + 5, expires_at=NOW + HOUR + 5)])
        assert await _load(store, old.key) == saved

    @_promise
    async def test_a_delete_says_what_was_there(self, store: Store) -> None:
        """A key that is not there is no error, also the second time."""
        one, two, other = make_record(), make_record(), make_record()
        await _create(store, one, two)
        assert set(await store.delete([one.key, other.key])) == {one.key}
        assert set(await store.delete([one.key])) == set()
        assert await _load(store, two.key) == two

    @_promise
    async def test_a_users_sessions_are_found_newest_first(self, store: Store) -> None:
        """All of them, and nobody else's, however alike the names."""
        mine = [make_record(user_id="ada", created_at=NOW + n) for n in (2, 1, 3)]
        others = [make_record(user_id=name) for name in ("Ada", "ada ", "adá", "ad", None)]
        await _create(store, *mine, *others)
        assert await _find(store, "ada") == [mine[n].facts for n in (2, 0, 1)]
        assert await _find(store, "nobody") == []

    @_promise
    async def test_a_list_tells_the_size_of_the_data(self, store: Store) -> None:
        """In bytes; the data itself need not be read for a list, only by `load`."""
        records = [
            make_record(user_id="ada", data=data) for data in (b"", b"\0\xff\n", bytes(99_999))
        ]
        records[1] = records[1]._replace(user_id="ada\n🦊" * 51)
        await _create(store, *records)
        listed = {one.key: one for one in _facts(await store.page(None, 3))}
        assert listed == {one.key: one.facts for one in records}
        assert {one.size for one in await _find(store, "ada")} == {0, 99_999}
        assert await _find(store, records[1].user_id or "") == [records[1].facts]

    @_promise
    async def test_the_index_of_users_follows_every_change(self, store: Store) -> None:
        """A login, a change of user, a renewal, a logout."""
        record = make_record()
        await _create(store, record)
        ada = newer(record, user_id="ada")
        await store.save([Swap(record, ada)])
        assert await _find(store, "ada") == [ada.facts]
        bob = renewed(ada, user_id="bob")
        await store.save([Swap(ada, bob)])
        assert await _find(store, "ada") == []
        assert await _find(store, "bob") == [bob.facts]
        await store.delete([bob.key])
        assert await _find(store, "bob") == []

    @_promise
    async def test_any_text_is_a_user(self, store: Store) -> None:
        """255 characters of any script, quotes and all."""
        for name in ("🦊" * 255, "'; DROP TABLE sessions; --", "a\tb", "%", "_"):
            record = make_record(user_id=name)
            await _create(store, record)
            assert await _find(store, name) == [record.facts]

    @_promise
    async def test_sessions_are_found_by_their_handles(self, store: Store) -> None:
        """Also under a new id; not after the end."""
        one, two = make_record(), make_record()
        await _create(store, one, two)
        moved = renewed(one)
        await store.save([Swap(one, moved)])
        found = await store.find_by_handle([one.handle, two.handle, new_handle()])
        assert {record.key: record for record in found} == {moved.key: moved, two.key: two}
        await store.delete([moved.key])
        assert list(await store.find_by_handle([one.handle])) == []
        assert list(await store.find_by_handle([])) == []

    @_promise
    async def test_pages_lead_through_all_records(self, store: Store) -> None:
        """What expires first comes first; of those that expire together, the smaller key."""
        records = [make_record(expires_at=NOW + n % 3, user_id=f"user {n}") for n in range(7)]
        await _create(store, *records)
        ordered = _facts(sorted(records, key=lambda record: (record.expires_at, record.key)))
        assert _facts(await store.page(None, 3)) == ordered[:3]
        assert _facts(await store.page(ordered[2], 3)) == ordered[3:6]
        await store.delete([ordered[5].key])
        assert _facts(await store.page(ordered[5], 3)) == ordered[6:]
        assert _facts(await store.page(ordered[6], 3)) == []

    @_promise
    async def test_records_are_counted_by_what_they_outlive(self, store: Store) -> None:
        """All of them, or those that expire after a moment."""
        records = [make_record(expires_at=NOW + n) for n in range(5)]
        await _create(store, *records)
        await store.touch([records[0]._replace(accessed_at=NOW + 1, expires_at=NOW + 9)])
        await store.save([Swap(records[4], newer(records[4], expires_at=NOW))])
        assert [await store.count(), await store.count(NOW), await store.count(NOW + 3)] == [
            5,
            4,
            1,
        ]
        await store.delete([records[0].key])
        assert await store.count() == 4

    @_promise
    async def test_a_session_is_dead_at_the_very_moment_it_expires(self, store: Store) -> None:
        """To the microsecond: at `expires_at` it may be purged, one before not."""
        record = make_record(expires_at=NOW)
        await _create(store, record)
        assert await store.purge(NOW - 1, 10) == 0
        assert await _load(store, record.key) == record
        assert await store.purge(NOW, 10) == 1
        assert await _load(store, record.key) is None

    @_promise
    async def test_what_expires_before_1970_is_no_session(self, store: Store) -> None:
        """The library keeps notes of ended sessions as such records: nobody counts or purges them.

        They are loaded, deleted and listed like all others, so the earliest comes first.
        """
        notes = [make_record(expires_at=-NOW + n, accessed_at=-NOW) for n in (1, 0)]
        dead = make_record(expires_at=NOW)
        await _create(store, *notes, dead)
        assert [await store.count(), await store.count(NOW)] == [1, 0]
        assert _facts(await store.page(None, 2)) == _facts(notes[::-1])
        assert _facts(await store.page(make_record(expires_at=0), 2)) == [dead.facts]
        assert [await store.purge(NOW, 10), await store.purge(NOW, 10)] == [1, 0]
        assert await _load(store, notes[0].key) == notes[0]
        assert set(await store.delete([note.key for note in notes])) == {one.key for one in notes}
        assert _facts(await store.page(None, 2)) == []

    @_promise
    async def test_a_purge_honours_its_limit(self, store: Store) -> None:
        """Whoever wants the rest asks again."""
        await _create(store, *(make_record(expires_at=NOW - n) for n in range(7)))
        assert [await store.purge(NOW, 3) for _ in range(4)] == [3, 3, 1, 0]

    @_promise
    async def test_a_purge_never_takes_the_living(self, store: Store) -> None:
        """Neither one that was kept alive by a touch or a save, nor a younger neighbour."""
        touched, saved, young, dead = (make_record(expires_at=NOW) for _ in range(4))
        young = young._replace(expires_at=NOW + HOUR)
        await _create(store, touched, saved, young, dead)
        await store.touch([touched._replace(accessed_at=NOW + 1, expires_at=NOW + HOUR)])
        await store.save([Swap(saved, newer(saved, expires_at=NOW + HOUR))])
        assert await store.purge(NOW, 10) == 1
        alive = await store.load([touched.key, saved.key, young.key, dead.key])
        assert set(alive) == {touched.key, saved.key, young.key}

    @_promise
    async def test_a_purge_finds_what_was_made_to_end_sooner(self, store: Store) -> None:
        """A save may shorten a life, and a renewal carries it to another key."""
        one, two = make_record(expires_at=NOW + HOUR), make_record(expires_at=NOW + HOUR)
        await _create(store, one, two)
        await store.save(
            [Swap(one, newer(one, expires_at=NOW)), Swap(two, renewed(two, expires_at=NOW))]
        )
        assert await store.purge(NOW, 10) == 2

    @_promise
    async def test_closing_twice_is_no_error(self, store: Store) -> None:
        """Nor is closing what was never used."""
        await store.aclose()
        await store.aclose()
