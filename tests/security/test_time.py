"""The end of a session, to the microsecond and whatever clocks say, on every store."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from managing import stored

from hello_tornado.sessions import Lifetimes, SessionManager, Store
from hello_tornado.sessions.carriers.signing import Keyring
from hello_tornado.sessions.records.ids import key_of

pytestmark = pytest.mark.gen_test(timeout=60)

HOUR = 3_600_000_000


async def test_it_ends_at_its_microsecond(make_store: Callable[[], Store], clock: Any) -> None:
    manager = SessionManager(make_store(), clock=clock, log=False)
    session_id = await stored(manager, "ada")
    clock.now += HOUR - 1
    assert not (await manager.open(session_id)).is_new
    assert len(await manager.sessions_of("ada")) == await manager.length() == 1
    clock.now += 1
    assert (await manager.open(session_id)).is_new
    assert len(await manager.sessions_of("ada")) == await manager.length() == 0
    await manager.aclose()


async def test_constant_use_does_not_pass_the_absolute_end(
    make_store: Callable[[], Store], clock: Any
) -> None:
    lifetimes = Lifetimes(idle=timedelta(minutes=30), absolute=timedelta(hours=2))
    manager = SessionManager(make_store(), clock=clock, log=False, lifetimes=lifetimes)
    session_id = await stored(manager, "ada")
    for _ in range(23):
        clock.advance(minutes=5)
        session = await manager.open(session_id)
        session.increment("n")
        session.touch()
        await manager.commit(session)
    clock.advance(minutes=5)
    assert (await manager.open(session_id)).is_new
    await manager.aclose()


async def test_clocks_an_hour_apart_lengthen_nothing_beyond_the_absolute_end(
    make_store: Callable[[], Store], clock: Any
) -> None:
    """One process is an hour behind, and its clock steps back once more."""
    behind = replace(clock, now=clock.now - HOUR)
    lifetimes = Lifetimes(absolute=timedelta(hours=2))
    right, wrong = (
        SessionManager(make_store(), clock=one, log=False, lifetimes=lifetimes)
        for one in (clock, behind)
    )
    session_id = await stored(right, "ada")
    for step in (0, -HOUR, HOUR, HOUR):
        behind.now += step
        session = await wrong.open(session_id)
        session.increment("n")
        await wrong.commit(session)
        assert session.accessed_at >= session.created_at
    clock.now += 2 * HOUR - 1
    found = await right.open(session_id)
    assert found.is_new or found.expires_at == found.created_at + timedelta(hours=2)
    clock.now += 1
    assert (await right.open(session_id)).is_new
    for manager in (right, wrong):
        await manager.aclose()


async def test_a_signature_from_the_future_makes_no_session_longer(
    make_store: Callable[[], Store], clock: Any
) -> None:
    manager = SessionManager(make_store(), clock=clock, log=False)
    session_id = await stored(manager, "ada")
    keyring = Keyring.of({"cookie_secret": "x" * 40})
    ahead = keyring.sign("session", session_id, clock.now + 10 * 365 * 24 * HOUR)
    clock.now += HOUR
    signed = keyring.verify("session", ahead, clock.now)
    assert signed is None or (await manager.open(signed.session_id)).is_new
    assert key_of(session_id) in await manager.store.load([key_of(session_id)]), "not yet purged"
    await manager.aclose()
