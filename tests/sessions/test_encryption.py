"""Encryption at rest: unreadable and unmovable in the store, and keys that can be changed."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from managing import stored

from hello_tornado.sessions import SessionManager, Store, open_store
from hello_tornado.sessions.encryption import AesGcm, new_encryption_key
from hello_tornado.sessions.errors import ConfigurationError, SerializationError, SessionUnreadable
from hello_tornado.sessions.events import RecordUnreadable, SessionEvent
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.records.ids import SessionKey, key_of
from hello_tornado.sessions.records.record import SessionRecord, Swap
from hello_tornado.sessions.stores.memory import MemoryStore
from hello_tornado.sessions.testing import make_record

OLD, NEW = new_encryption_key(), new_encryption_key()
RECORD = make_record()
FIELDS = ("key", "handle", "version", "user_id", "created_at", "accessed_at", "expires_at")
MOMENTS = st.integers(0, 2**63 - 1)


def serves(make_store: Callable[[], Store], clock: Any, **options: Any) -> SessionManager:
    return SessionManager(make_store(), cipher=AesGcm([OLD]), clock=clock, **options)


RECORDS = st.builds(
    SessionRecord,
    key=st.binary(min_size=32, max_size=32).map(SessionKey),
    handle=st.text(min_size=1),
    version=st.integers(1, 2**63 - 1),
    user_id=st.none() | st.text(st.characters()),
    data=st.binary(),
    created_at=MOMENTS,
    accessed_at=MOMENTS,
    expires_at=MOMENTS,
)


@given(RECORDS)
def test_what_is_sealed_opens_again(record: SessionRecord) -> None:
    cipher = AesGcm([OLD])
    sealed = cipher.seal(record)
    assert cipher.open(sealed) == record.data
    assert sealed._replace(data=record.data) == record, "the other fields are as they were"
    assert cipher.seal(record) != sealed


@given(RECORDS, RECORDS, st.sets(st.sampled_from(FIELDS), min_size=1))
def test_no_field_can_be_changed(
    record: SessionRecord, other: SessionRecord, changed: set[str]
) -> None:
    cipher = AesGcm([OLD])
    sealed = cipher.seal(record)
    forged = sealed._replace(**{name: getattr(other, name) for name in changed})
    assume(forged != sealed)
    with pytest.raises(SerializationError):
        cipher.open(forged)


def test_it_opens_under_its_own_key_only() -> None:
    sealed = AesGcm([OLD]).seal(RECORD)
    with pytest.raises(SerializationError):
        AesGcm([NEW]).open(sealed)
    with pytest.raises(SerializationError):
        AesGcm([OLD]).open(sealed._replace(user_id="null"))


def test_a_change_of_any_byte_is_found() -> None:
    cipher = AesGcm([OLD])
    sealed = cipher.seal(RECORD)
    for place in range(len(sealed.data)):
        changed = bytearray(sealed.data)
        changed[place] ^= 1
        with pytest.raises(SerializationError):
            cipher.open(sealed._replace(data=bytes(changed)))
        with pytest.raises(SerializationError):
            cipher.open(sealed._replace(data=sealed.data[:place]))


NO_KEYS: list[Any] = [
    *([], "", OLD, b"k" * 32, ["short"], [b"k" * 31], ["!" * 44], [""]),
    *([None], ["ü" * 44], None, [list(b"k" * 32)], {OLD: NEW}),
]


@pytest.mark.parametrize("keys", NO_KEYS, ids=range(len(NO_KEYS)))
def test_keys_that_are_none_stop_the_start(keys: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"AesGcm\(keys|encryption") as caught:
        AesGcm(keys)
    assert OLD not in str(caught.value)
    with pytest.raises(ConfigurationError, match="accept_plain"):
        AesGcm([OLD], accept_plain="no")  # type: ignore[arg-type]


@pytest.mark.gen_test
async def test_nothing_of_it_is_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    manager = SessionManager(open_store(f"sqlite:///{path}"), cipher=AesGcm([OLD]))
    session_id = await stored(manager, "ada", diagnosis="a secret of hers")
    session = await manager.open(session_id)
    assert session["diagnosis"] == "a secret of hers"
    session.increment("n")
    session.renew()
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    assert dict(await manager.open(action.session_id)) == {"diagnosis": "a secret of hers", "n": 1}
    await manager.aclose()
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())  # noqa: ASYNC240
    assert b"ada" in written, "the store finds sessions by it"
    assert b"secret of hers" not in written
    assert b"diagnosis" not in written


@pytest.mark.gen_test
async def test_keys_are_changed_without_losing_a_session() -> None:
    store = MemoryStore()
    session_id = await stored(SessionManager(store, cipher=AesGcm([OLD])), n=1)
    both = SessionManager(store, cipher=AesGcm([NEW, OLD]))
    session = await both.open(session_id)
    session.increment("n")
    await both.commit(session)
    only_new = SessionManager(store, cipher=AesGcm([NEW]))
    assert dict(await only_new.open(session_id)) == {"n": 2}


@pytest.mark.gen_test
async def test_data_that_was_moved_to_another_session_is_no_session() -> None:
    events: list[SessionEvent] = []
    store = MemoryStore()
    manager = SessionManager(store, cipher=AesGcm([OLD]), hooks=[events.append])
    mine, admins = await stored(manager, role="guest"), await stored(manager, role="admin")
    records = await store.load([key_of(mine), key_of(admins)])
    old, stolen = records[key_of(mine)], records[key_of(admins)]
    await store.save([Swap(old, old._replace(version=2, data=stolen.data))])
    with pytest.raises(SessionUnreadable):
        await manager.open(mine)
    assert events[-1] == RecordUnreadable(old.handle, "the session record was changed or moved")


@pytest.mark.gen_test
async def test_what_was_stored_before_there_was_encryption() -> None:
    store = MemoryStore()
    session_id = await stored(SessionManager(store), n=1)
    strict = SessionManager(store, cipher=AesGcm([OLD]))
    with pytest.raises(SessionUnreadable):
        await strict.open(session_id)
    moving = SessionManager(store, cipher=AesGcm([OLD], accept_plain=True))
    session = await moving.open(session_id)
    session.increment("n")
    await moving.commit(session)
    assert dict(await strict.open(session_id)) == {"n": 2}


@pytest.mark.gen_test
async def test_a_life_cannot_be_lengthened_by_a_writer_of_the_store(clock: Any) -> None:
    """Neither by other times, nor under the handle of another session."""
    store = MemoryStore()
    manager = serves(lambda: store, clock, log=False)
    session_id = await stored(manager, "ada", n=1)
    other = (await manager.open(await stored(manager, "ada", n=2))).handle
    key = key_of(session_id)
    standing = (await store.load([key]))[key]
    for forged in (
        standing._replace(expires_at=standing.expires_at + 1),
        standing._replace(created_at=standing.created_at + 1),
        standing._replace(accessed_at=standing.accessed_at + 1),
        standing._replace(handle=other),
        standing._replace(version=standing.version + 1),
    ):
        store._records[key] = forged
        with pytest.raises(SessionUnreadable):
            await manager.open(session_id)
    store._records[key] = standing
    assert dict(await manager.open(session_id)) == {"n": 1}


@pytest.mark.gen_test
async def test_a_session_that_is_only_read_slides_on_every_store(
    make_store: Callable[[], Store], clock: Any
) -> None:
    """A touch seals the record again: what was stored opens after it, in another process, too."""
    mine, theirs = serves(make_store, clock), serves(make_store, clock)
    session_id = await stored(mine, "ada", n=1)
    for manager in (mine, theirs, mine, theirs):
        clock.advance(minutes=50)
        session = await manager.open(session_id)
        assert (session.is_new, session["n"]) == (False, 1)
        await manager.commit(session)
        assert session.accessed_at == (await manager.open(session_id)).accessed_at
    await mine.aclose()
    await theirs.aclose()


@pytest.mark.gen_test
async def test_touches_and_changes_side_by_side_lose_nothing(
    make_store: Callable[[], Store], clock: Any
) -> None:
    mine, theirs = serves(make_store, clock), serves(make_store, clock)
    session_id = await stored(mine, n=0)
    clock.advance(minutes=2)
    opened = [
        (manager, await manager.open(session_id)) for manager in (mine, theirs) for _ in range(6)
    ]
    for number, (_, session) in enumerate(opened):
        if number % 2:
            session.increment("n")
    await asyncio.gather(*(manager.commit(session) for manager, session in opened))
    session = await mine.open(session_id)
    assert (session["n"], session.user_id) == (6, None)
    assert int(session.accessed_at.timestamp() * 1_000_000) == clock.now
    await mine.aclose()
    await theirs.aclose()


@pytest.mark.gen_test
async def test_a_touch_does_not_bring_back_what_has_ended(clock: Any) -> None:
    store = MemoryStore()
    manager = serves(lambda: store, clock, log=False)
    session_id = await stored(manager, "ada", n=1)
    clock.advance(minutes=2)
    late = await manager.open(session_id)
    await manager.revoke_user("ada")
    await manager.commit(late)
    assert (await manager.open(session_id)).is_new
    assert await manager.length() == 0
