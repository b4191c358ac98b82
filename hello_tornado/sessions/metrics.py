"""Prometheus metrics: counts of events, and durations of store calls.

    manager = SessionManager(url, metrics=SessionMetrics())

The number of label values does not depend on users, sessions or the requests of clients.
"""

import re
import time
from collections.abc import AsyncGenerator, Awaitable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

from hello_tornado.sessions.errors import ConfigurationError, StoreError
from hello_tornado.sessions.events import (
    CommitDropped,
    CookieRejected,
    Created,
    Ended,
    Expired,
    LoggedIn,
    Purged,
    PurgeFailed,
    Renewed,
    RequestForbidden,
    SessionEvent,
)
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import Listed, Outcome, SessionRecord, Swap
from hello_tornado.sessions.stores import Announcing, Store, placement_of
from hello_tornado.sessions.stores.deadlines import limit_of_store

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ModuleNotFoundError as missing:
    raise ConfigurationError(
        "metrics need the package prometheus-client: pip install 'hello-tornado[metrics]'"
    ) from missing

T = TypeVar("T")

CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")
NAMESPACE: Final = "hello_tornado"
SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
ROWS: Final = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
COUNTED: Final = {
    Created: "created",
    LoggedIn: "logged_in",
    Renewed: "renewed",
    Expired: "came_back_expired",
    CommitDropped: "changes_dropped",
}


class SessionMetrics:
    """Counts events and store calls.

    The program that serves the metrics must set the gauges `sessions_live` and `sockets_open`.

    Args:
        registry: The registry of prometheus_client (its default registry).

    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        counter = partial(Counter, namespace=NAMESPACE, registry=registry)
        gauge = partial(Gauge, namespace=NAMESPACE, registry=registry)
        histogram = partial(Histogram, namespace=NAMESPACE, registry=registry)
        self._sessions = counter("session_events", "Events of sessions.", ["event"])
        self._ended = counter("sessions_ended", "Sessions that were ended.", ["reason"])
        self._rejected = counter("cookies_rejected", "Invalid session cookies.", ["reason"])
        self._forbidden = counter("requests_forbidden", "Cross-site requests.", ["reason"])
        self._purged = counter("sessions_purged", "Expired sessions that were deleted.")
        self._failed_purges = counter("purges_failed", "Purges that failed.")
        self._last_purge = gauge(
            "last_purge_timestamp_seconds",
            "Unix time at which the last successful purge finished.",
            multiprocess_mode="max",
        )
        self._seconds = histogram(
            "store_call_duration_seconds",
            "Calls to the store.",
            ["operation", "outcome"],
            buckets=SECONDS,
        )
        self._rows = histogram(
            "store_call_sessions", "Sessions in a call to the store.", ["operation"], buckets=ROWS
        )
        # After each conflict, the changes are replayed on the newer record (a rebase).
        self._saves = counter("store_saves", "Outcomes of saves.", ["outcome"])
        self.sessions_live = gauge(
            "sessions_live", "Sessions that have not expired.", multiprocess_mode="mostrecent"
        )
        self.sockets_open = gauge(
            "sockets_open", "Sockets that watch a session.", multiprocess_mode="livesum"
        )

    def __call__(self, event: SessionEvent) -> None:
        """Count *event*."""
        match event:
            case Ended():
                self._ended.labels(event.reason).inc()
            case CookieRejected():
                self._rejected.labels(event.reason).inc()
            case RequestForbidden():
                self._forbidden.labels(event.reason).inc()
            case Purged():
                self._purged.inc(event.count)
                self._last_purge.set_to_current_time()
            case PurgeFailed():
                self._failed_purges.inc()
            case _ if type(event) in COUNTED:
                self._sessions.labels(COUNTED[type(event)]).inc()

    def observed(self, store: Store) -> Store:
        """Return a store that passes all calls to *store*, and times and counts them."""
        if isinstance(store, Announcing):
            return _ObservedAnnouncingStore(store, self)
        return _ObservedStore(store, self)

    async def timed(self, operation: str, rows: int | None, call: Awaitable[T]) -> T:
        """Await *call*, a store call for a number of *rows*, and return its result."""
        started, outcome = time.perf_counter(), "failed"
        try:
            result = await call
            outcome = "done"
        except StoreError as error:
            outcome = CAPITAL.sub("_", type(error).__name__).lower()
            raise
        finally:
            self._seconds.labels(operation, outcome).observe(time.perf_counter() - started)
            if rows is not None:
                self._rows.labels(operation).observe(rows)
        return result

    def saved(self, outcomes: Sequence[Outcome | StoreError]) -> None:
        """Count the outcomes of swaps."""
        for outcome in outcomes:
            refused = isinstance(outcome, StoreError)
            self._saves.labels("refused" if refused else type(outcome).__name__.lower()).inc()


class _ObservedStore:
    """A store that passes all calls to another store and counts them."""

    def __init__(self, store: Store, metrics: SessionMetrics) -> None:
        self._store = store
        self.limit_seconds = limit_of_store(store)
        self.placement = placement_of(store)
        self._timed, self._saved = metrics.timed, metrics.saved

    def __str__(self) -> str:
        return str(self._store)

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        return await self._timed("load", len(keys), self._store.load(keys))

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome | StoreError]:
        outcomes = await self._timed("save", len(swaps), self._store.save(swaps))
        self._saved(outcomes)
        return outcomes

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        await self._timed("touch", len(records), self._store.touch(records))

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        return await self._timed("delete", len(keys), self._store.delete(keys))

    async def find_by_user(self, user_id: str, /) -> Sequence[Listed]:
        return await self._timed("find_by_user", None, self._store.find_by_user(user_id))

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        return await self._timed("find_by_handle", None, self._store.find_by_handle(handles))

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[Listed]:
        return await self._timed("page", None, self._store.page(after, limit))

    async def count(self, after: int = 0, /) -> int:
        return await self._timed("count", None, self._store.count(after))

    async def purge(self, now: int, limit: int, /) -> int:
        return await self._timed("purge", None, self._store.purge(now, limit))

    async def aclose(self) -> None:
        await self._store.aclose()


class _ObservedAnnouncingStore(_ObservedStore):
    async def announce(self, handles: Collection[str], /) -> None:
        assert isinstance(self._store, Announcing)  # noqa: S101 - observed() has seen it
        await self._timed("announce", len(handles), self._store.announce(handles))

    def announcements(self) -> AsyncGenerator[Collection[str]]:
        assert isinstance(self._store, Announcing)  # noqa: S101 - observed() has seen it
        return self._store.announcements()
