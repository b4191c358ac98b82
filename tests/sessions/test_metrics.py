"""Sessions in numbers."""

import asyncio
from typing import Any

import pytest
from fakes import FakeStore
from prometheus_client import CollectorRegistry

from hello_tornado.sessions import SessionManager
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.events import CookieRejected, PurgeFailed, RequestForbidden
from hello_tornado.sessions.metrics import SessionMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> SessionMetrics:
    return SessionMetrics(registry)


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(turns={"load": 1})


@pytest.fixture
def manager(metrics: SessionMetrics, store: FakeStore, clock: Any) -> SessionManager:
    return SessionManager(store, metrics=metrics, clock=clock)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float:
    return registry.get_sample_value(f"hello_tornado_{name}", labels) or 0


async def begin(manager: SessionManager, user: str = "ada") -> Any:
    session = await manager.open(None)
    session.login(user)
    await manager.commit(session)
    return session


@pytest.mark.gen_test
async def test_what_happens_to_sessions_is_counted(
    manager: SessionManager, registry: CollectorRegistry, clock: Any
) -> None:
    ada, bob = await begin(manager), await begin(manager, "bob")
    ada.destroy()
    await manager.commit(ada)
    await manager.revoke_user("bob")
    await begin(manager)
    clock.advance(days=2)
    await manager.purge()
    manager.emit(CookieRejected("not_ours"))
    manager.emit(RequestForbidden("origin"))
    manager.emit(PurgeFailed("the store is down"))
    assert bob.user_id == "bob"
    for name, labels, count in (
        ("session_events_total", {"event": "created"}, 3),
        ("session_events_total", {"event": "logged_in"}, 3),
        ("sessions_ended_total", {"reason": "logged_out"}, 1),
        ("sessions_ended_total", {"reason": "revoked"}, 1),
        ("cookies_rejected_total", {"reason": "not_ours"}, 1),
        ("requests_forbidden_total", {"reason": "origin"}, 1),
        ("sessions_purged_total", {}, 1),  # what says why a session ended is none
        ("purges_failed_total", {}, 1),
    ):
        assert value(registry, name, **labels) == count, name
    assert value(registry, "last_purge_timestamp_seconds") > 1_700_000_000


@pytest.mark.gen_test
async def test_what_travels_together_is_one_call(
    manager: SessionManager, registry: CollectorRegistry, store: FakeStore
) -> None:
    ids = []
    for _ in range(32):
        session = await manager.open(None)
        session["n"] = 1
        ids.append((await manager.commit(session)).session_id)  # type: ignore[union-attr]
    await asyncio.gather(*(manager.open(session_id) for session_id in ids))
    calls = value(registry, "store_call_duration_seconds_count", operation="load", outcome="done")
    assert value(registry, "store_call_sessions_sum", operation="load") == 32
    assert calls == value(registry, "store_call_sessions_count", operation="load") == 1
    assert value(registry, "store_saves_total", outcome="saved") == 32
    store.is_down = True
    with pytest.raises(StoreUnavailable):
        await manager.open(ids[0])
    failed = {"operation": "load", "outcome": "store_unavailable"}
    assert value(registry, "store_call_duration_seconds_count", **failed) == 1


@pytest.mark.gen_test
async def test_conflicts_are_counted(
    manager: SessionManager, registry: CollectorRegistry, store: FakeStore, clock: Any
) -> None:
    session = await begin(manager)
    assert session.record is not None
    other = SessionManager(store, log=False, clock=clock)
    theirs = await other.reload(session)
    theirs["colour"] = "red"
    await other.commit(theirs)
    session["size"] = 3
    await manager.commit(session)
    assert value(registry, "store_saves_total", outcome="conflict") == 1
    assert dict(await manager.reload(session)) == {"colour": "red", "size": 3}


def test_two_managers_have_numbers_of_their_own() -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    SessionMetrics(first)(CookieRejected("not_ours"))
    SessionMetrics(second)
    assert value(first, "cookies_rejected_total", reason="not_ours") == 1
    assert value(second, "cookies_rejected_total", reason="not_ours") == 0
