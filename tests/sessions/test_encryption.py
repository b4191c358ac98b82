"""Encryption at rest: unreadable and unmovable in the store, and keys that can be changed."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hello_tornado.sessions import SessionManager, open_store
from hello_tornado.sessions.actions import Issue
from hello_tornado.sessions.encryption import AesGcm, new_encryption_key
from hello_tornado.sessions.errors import ConfigurationError, SerializationError
from hello_tornado.sessions.events import RecordUnreadable, SessionEvent
from hello_tornado.sessions.ids import SessionId, SessionKey, key_of
from hello_tornado.sessions.record import Swap
from hello_tornado.sessions.stores.memory import MemoryStore

OLD, NEW = new_encryption_key(), new_encryption_key()
KEY = SessionKey(b"k" * 32)
OTHER = SessionKey(b"o" * 32)


async def stored(manager: SessionManager, user_id: str | None = None, **data: Any) -> SessionId:
    session = await manager.open(None)
    session.update(data)
    if user_id is not None:
        session.login(user_id)
    action = await manager.commit(session)
    assert isinstance(action, Issue)
    return action.session_id


@given(st.binary(), st.binary(min_size=32, max_size=32), st.none() | st.text(min_size=1))
def test_what_is_sealed_opens_again(data: bytes, key: bytes, user_id: str | None) -> None:
    cipher = AesGcm([OLD])
    sealed = cipher.seal(data, SessionKey(key), user_id)
    assert cipher.open(sealed, SessionKey(key), user_id) == data
    assert cipher.seal(data, SessionKey(key), user_id) != sealed


def test_it_opens_for_nobody_else() -> None:
    cipher = AesGcm([OLD])
    sealed = cipher.seal(b"{}", KEY, "ada")
    for key, user_id in ((OTHER, "ada"), (KEY, "eve"), (KEY, None)):
        with pytest.raises(SerializationError):
            cipher.open(sealed, key, user_id)
    with pytest.raises(SerializationError):
        AesGcm([NEW]).open(sealed, KEY, "ada")


def test_a_change_of_any_byte_is_found() -> None:
    cipher = AesGcm([OLD])
    sealed = cipher.seal(b"{}", KEY, None)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SerializationError):
            cipher.open(bytes(changed), KEY, None)
        with pytest.raises(SerializationError):
            cipher.open(sealed[:place], KEY, None)


@pytest.mark.parametrize("keys", [[], "", OLD, b"k" * 32, ["short"], [b"k" * 31], ["!" * 44], [""]])
def test_keys_that_are_none_stop_the_start(keys: Any) -> None:
    with pytest.raises(ConfigurationError, match="encryption"):
        AesGcm(keys)


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
    session = await manager.open(mine)
    assert (session.is_new, dict(session)) == (True, {})
    assert events[-1] == RecordUnreadable(old.handle, "session data that was changed, or moved")


@pytest.mark.gen_test
async def test_what_was_stored_before_there_was_encryption() -> None:
    store = MemoryStore()
    session_id = await stored(SessionManager(store), n=1)
    strict = SessionManager(store, cipher=AesGcm([OLD]))
    assert (await strict.open(session_id)).is_new
    moving = SessionManager(store, cipher=AesGcm([OLD], accept_plain=True))
    session = await moving.open(session_id)
    session.increment("n")
    await moving.commit(session)
    assert dict(await strict.open(session_id)) == {"n": 2}
