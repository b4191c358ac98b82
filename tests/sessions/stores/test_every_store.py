"""What a session can do beside holding values, on every store, seen by two processes' managers."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from managing import committed, stored

from hello_tornado.sessions import SessionManager, Store
from hello_tornado.sessions.encryption import AesGcm, new_encryption_key
from hello_tornado.sessions.errors import SessionBusy
from hello_tornado.sessions.manager.leases import lease
from hello_tornado.sessions.records.ids import SessionKey, key_of
from hello_tornado.sessions.records.tombstones import tombstone_key_of
from hello_tornado.sessions.stores.redis.store import RedisStore

pytestmark = pytest.mark.gen_test(timeout=60)

HOUR = timedelta(hours=1)


@asynccontextmanager
async def two_managers(
    make_store: Callable[[], Store], **options: Any
) -> AsyncIterator[tuple[SessionManager, SessionManager]]:
    here, there = (SessionManager(make_store(), log=False, **options) for _ in range(2))
    try:
        yield here, there
    finally:
        await here.aclose()
        await there.aclose()


async def test_another_process_knows_why_a_session_ended(
    make_store: Callable[[], Store], clock: Any
) -> None:
    async with two_managers(make_store, clock=clock) as (here, there):
        out, revoked, expired = [await stored(here, "ada") for _ in range(3)]
        session = await here.open(out)
        session.destroy()
        await here.commit(session)
        await here.revoke((await here.open(revoked)).handle or "")
        assert [one.handle for one in await there.sessions_of("ada")] == [
            (await there.open(expired)).handle
        ]
        clock.advance(hours=1)
        late = await stored(here, "eve")
        reasons = [(await there.open(one)).ended_reason for one in (out, revoked, expired, late)]
        assert reasons == ["expired", "expired", "expired", None], "the first two are forgotten"
        await there.revoke_user("eve")
        assert (await here.open(late)).ended_reason == "revoked"
        assert await here.length() == 0


async def test_it_is_told_for_an_hour_also_where_records_leave_by_themselves(
    make_store: Callable[[], Store],
) -> None:
    """Redis takes nothing away before the hour is over."""
    async with two_managers(make_store) as (here, _):
        session_id = await stored(here, "ada")
        await here.revoke_user("ada")
        if isinstance(here.store, RedisStore):
            left = await life_left(here.store, tombstone_key_of(key_of(session_id)))
            assert 2 * HOUR < left < 2 * HOUR + timedelta(minutes=2)
        await here.purge()
        assert (await here.open(session_id)).ended_reason == "revoked"


async def life_left(store: RedisStore, key: SessionKey) -> timedelta:
    client = store._target.connect()
    name = store._masters.records[store._masters.partition_of(key)] + key
    left: int = await client.pttl(name)
    await client.aclose()
    return timedelta(milliseconds=left)


async def test_what_it_says_of_itself_is_stored(
    make_store: Callable[[], Store], clock: Any
) -> None:
    async with two_managers(make_store, clock=clock) as (here, there):
        session = await here.open(None)
        session.update(code=1, name="Ada")
        session.expire("code", timedelta(minutes=5))
        session.idle_timeout = timedelta(hours=3)
        session.flash("Saved", "success")
        session_id = await committed(here, session)
        clock.advance(minutes=4)
        session = await there.open(session_id)
        assert dict(session) == {"code": 1, "name": "Ada"}
        assert session.idle_timeout == timedelta(hours=3)
        clock.advance(hours=2)
        session = await there.open(session_id)
        assert dict(session) == {"name": "Ada"}
        assert session.flashes() == [("success", "Saved")]


@dataclass
class Cart:
    owner: str = "nobody"
    count: int = 0


async def test_classes_in_two_processes_merge_field_by_field_and_encrypted(
    make_store: Callable[[], Store],
) -> None:
    cipher = AesGcm([new_encryption_key()])
    async with two_managers(make_store, cipher=cipher) as (here, there):
        session = await here.open(None)
        session["theme"] = "dark"
        session_id = await committed(here, session)
        one, other = await here.open(session_id), await there.open(session_id)
        one.typed(Cart).owner = "Ada"
        other.typed(Cart).count = 3
        await here.commit(one)
        await there.commit(other)
        found = await here.open(session_id)
        assert found.typed(Cart) == Cart("Ada", 3)
        (record,) = (await here.store.load([key_of(session_id)])).values()
        assert b"theme" not in record.data


async def test_a_lease_holds_in_every_process(make_store: Callable[[], Store]) -> None:
    async with two_managers(make_store) as (here, there):
        session_id = await stored(here, "ada")
        at_once: dict[str, Any] = {"wait": timedelta(0), "lasts": HOUR}
        record = (await here.open(session_id)).record
        assert record is not None
        leased = await lease(here, record, **at_once)
        assert leased is not None
        session, mine = leased
        with pytest.raises(SessionBusy):
            await lease(there, record, **at_once)
        await mine.release(session)
        assert await lease(there, record, **at_once) is not None
