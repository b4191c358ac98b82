"""The session manager: opens sessions, commits changes, and finds, revokes and purges sessions.

A request costs one load for `open`, and one save for `commit` if the session was changed. If it was
only read, `commit` costs nothing, or a touch once in a `touch_interval`. Concurrent requests share
these store calls.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Final, Literal, Self, TypeVar, cast

from hello_tornado.sessions import options
from hello_tornado.sessions.carriers.carrier import Choice
from hello_tornado.sessions.carriers.cookies import CookiePolicy
from hello_tornado.sessions.carriers.proxies import Networks
from hello_tornado.sessions.errors import SessionUnreadable
from hello_tornado.sessions.event_log import EventLog
from hello_tornado.sessions.events import (
    EndedReason,
    Expired,
    Hook,
    LoggedIn,
    Purged,
    SessionEvent,
    emit,
)
from hello_tornado.sessions.manager.actions import KEEP, CookieAction
from hello_tornado.sessions.manager.checks import CHECKS, Clock, Metrics, random_id
from hello_tornado.sessions.manager.codec import Cipher, Codec, Plain
from hello_tornado.sessions.manager.committer import Commit, Standing
from hello_tornado.sessions.manager.endings import Endings
from hello_tornado.sessions.manager.purger import Purger, purge
from hello_tornado.sessions.manager.reader import Reader
from hello_tornado.sessions.manager.watcher import Watcher
from hello_tornado.sessions.manager.writer import Writer
from hello_tornado.sessions.records.ids import SessionId, SessionKey, key_of
from hello_tornado.sessions.records.lifetimes import (
    MICROSECOND,
    Lifetimes,
    as_timedelta,
    system_clock,
)
from hello_tornado.sessions.records.record import Conflict, Gone, Listed, Saved, SessionRecord, Swap
from hello_tornado.sessions.records.serializers import JsonSerializer, Serializer
from hello_tornado.sessions.records.tombstones import Tombstone, tombstone_key_of
from hello_tornado.sessions.records.values import check_user_id
from hello_tornado.sessions.session.draft import CommitRules, Intent, Nothing, Storing
from hello_tornado.sessions.session.draft import Update as Change
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.stores import Store, as_store
from hello_tornado.sessions.stores.batched_store import BatchedStore

E = TypeVar("E", bound=SessionEvent)

MAX_BYTES: Final = 64 * 1024


def refuse_coroutine(result: object) -> None:
    """Raise `TypeError` if *result* shows that a function that updates a session is async."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(
            "a function that updates a session may be called again: it must not be async"
        )


class SessionManager:
    """Opens, commits, finds and ends the sessions in a store.

    `async with SessionManager(url) as manager:` closes the store at the end. The options are listed
    as `name` (type; default). A duration is a timedelta or a number of seconds.

    - `store` (`Store` or str): the store, or its URL as for `open_store`.
    - `lifetimes` (`Lifetimes`; 1 hour idle, 24 hours absolute): when sessions expire.
    - `cookie` (`CookiePolicy()`): a `CookiePolicy`, a `TokenPolicy`, or a function of the request.
    - `serializer` (`Serializer`; `JsonSerializer()`): converts data to bytes.
    - `cipher` (`Cipher`; None): encrypts data, for example an `AesGcm`.
    - `resave` (bool; False): store sessions in every request, even if they were only read.
    - `save_uninitialized` (bool; False): store new sessions even if they are empty.
    - `rolling` (bool; False): send the cookie with every response.
    - `unset` ("keep" or "destroy"; "keep"): what `del handler.session` does to the stored session.
    - `genid` (function; 216 random bits): gets the request, or None outside one; returns a new id.
    - `touch_interval` (duration; 60 s): how often requests that only read extend the idle timeout.
    - `remember_ended` (duration; 1 hour): how long the reason for the end of a session is kept.
    - `max_sessions_per_user` (int; None): a login beyond it ends the user's oldest session.
    - `max_bytes` (int; 65536): the maximum size of a session's serialized data, in bytes.
    - `purge_every` (duration; 5 minutes): how often expired sessions are deleted; None: never.
    - `purge_batch` (int; 50): how many expired sessions are deleted at a time.
    - `trusted_proxies` (list of str; None): proxies whose X-Forwarded-Proto and -For are trusted.
    - `metrics` (`SessionMetrics`; None): counts events and store calls.
    - `hooks` (functions; none): called with every event; see also `on`.
    - `log` (bool; True): log events with the logger `hello_tornado.sessions`.
    - `clock` (function; the system's clock): returns the moment in microseconds since 1970.

    `trusted_proxies` are addresses or networks. With an empty list no proxy is trusted; with None,
    Tornado's `xheaders` decides. A function for `cookie` takes the request and returns a policy.
    Purging starts with the first use. An invalid option raises `ConfigurationError`.
    """

    @options.checked(**CHECKS)
    def __init__(
        self,
        store: Store | str,
        *,
        lifetimes: Lifetimes | None = None,
        cookie: Choice | None = None,
        serializer: Serializer | None = None,
        cipher: Cipher | None = None,
        resave: bool = False,
        save_uninitialized: bool = False,
        rolling: bool = False,
        unset: Literal["keep", "destroy"] = "keep",
        genid: Callable[[Any], str] = random_id,
        touch_interval: timedelta | float = timedelta(seconds=60),
        remember_ended: timedelta | float = timedelta(hours=1),
        max_sessions_per_user: int | None = None,
        max_bytes: int = MAX_BYTES,
        purge_every: timedelta | float | None = timedelta(minutes=5),
        purge_batch: int = 50,
        trusted_proxies: Sequence[str] | None = None,
        metrics: Metrics | None = None,
        hooks: Sequence[Hook] = (),
        log: bool = True,
        clock: Clock = system_clock,
    ) -> None:
        store = as_store(store)
        self.store = store if metrics is None else metrics.observed(store)
        self.trusted_proxies = cast("Networks | None", trusted_proxies)
        self.lifetimes, self.cookie = lifetimes or Lifetimes(), cookie or CookiePolicy()
        self.rolling, self.unset = rolling, unset
        touch = as_timedelta(touch_interval) // MICROSECOND
        after = self.lifetimes.touch_after(touch)
        self.rules = CommitRules(resave, save_uninitialized, touch, after)
        self.reason_told_for = as_timedelta(remember_ended) // MICROSECOND
        self._max_sessions_per_user = max_sessions_per_user
        serializer = serializer or JsonSerializer()
        self._hooks: list[Hook] = [*hooks] if metrics is None else [metrics, *hooks]
        if log:
            self._hooks.insert(0, EventLog(clock))
        self.now = clock
        self._codec = Codec(serializer, cipher or Plain(), self.lifetimes, max_bytes, clock)
        self._shared = BatchedStore(self.store)
        self._endings = Endings(self.store, self._codec, clock, self.reason_told_for, self.emit)
        self._writer = Writer(self._shared, self._codec, self._endings, genid, self.emit)
        self._purger = Purger(lambda: self.purge(batch=purge_batch), purge_every, self.emit)
        self._reader = Reader(
            self.store,
            self._shared,
            self._codec,
            serializer,
            clock=clock,
            used=self._purger.begin,  # purging starts when the first session is opened
            emit=self.emit,
        )
        self.watcher = Watcher(self.store, self._endings.reasons, clock, self.emit)
        self._hooks.append(self.watcher)

    def open(self, session_id: SessionId | None) -> Awaitable[Session]:
        """Return the session with this id, or a new one if there is none or it has ended.

        A new session gets an id when it is committed. If the session has ended, the new one has
        the `ended_reason`.
        """
        return self._open(None if session_id is None else key_of(session_id))

    async def reload(self, session: Session) -> Session:
        """Return the session as it is stored now, also if its id has changed.

        If it has ended, return an ended session, with the `ended_reason`; writing to it raises
        `SessionEnded`. If it was never stored, return a new one.
        """
        record = session.record
        if record is None:
            return self._reader.session(None)
        found = await self._open(record.key)
        if not found.is_new:
            return found
        if (successor := await self._writer.successor_of(record)) is not None:
            return self._reader.readable(successor)
        found.end(found.ended_reason)
        return found

    async def _open(self, key: SessionKey | None) -> Session:
        if key is None:
            return self._reader.session(None)
        record, now = await self._shared.load(key), self.now()
        if record is not None and self.lifetimes.is_living(record, now):
            return self._reader.readable(record, now)
        if record is None:
            return self._session_after(await self._tombstone_of(key), now)
        session = self._session_after(None, now)
        session.presented = (key,)  # a logout ends it: by another clock it may not have expired
        self.emit(Expired(record.handle, record.user_id))
        return session

    async def _tombstone_of(self, key: SessionKey) -> Tombstone | None:
        return self._endings.read(await self._shared.load(tombstone_key_of(key)))

    def _session_after(self, tombstone: Tombstone | None, now: int) -> Session:
        """Return a new session in place of one that has ended or whose id was renewed."""
        if tombstone is None:
            session = self._reader.session(None, now)
            session.ended_reason = self._endings.unexplained
            return session
        session = self._reader.session(None, now)
        session.tombstone = tombstone if self._endings.is_just_now(tombstone) else None
        session.ended_reason = None if tombstone.reason is EndedReason.RENEWED else tombstone.reason
        return session

    async def is_living(self, session_id: SessionId) -> bool:
        """Return whether the store has a valid session with this id."""
        return await self._reader.living(key_of(session_id)) is not None

    def intent(self, session: Session, *, only_end: bool = False) -> Intent:
        """Return what `commit` would do now, or raise the error it would raise.

        With *only_end* (False), ignore all changes except that the session ends.
        """
        return session.intent(self.rules, self.now(), only_end=only_end)

    def draw_id(self, session: Session, request: object) -> SessionId:
        """Return the id that *session* gets if this request begins or renews it."""
        return self._writer.draw_id(session, request)

    async def commit(
        self, session: Session, request: object = None, intent: Intent | None = None
    ) -> CookieAction:
        """Store the changes of *session*; return what to do about the browser's cookie.

        *request* (None) is passed to `genid`; *intent* (None) is the session's, if known. If the
        session has ended elsewhere, the changes are dropped and `Keep` is returned. After an error
        the session still has all changes and may be committed again.
        """
        intent = self.intent(session) if intent is None else intent
        if isinstance(intent, Nothing):
            return KEEP
        taken = session.take_draft(intent)
        try:
            action = await self._writer.carry_out(intent, session, request)
        except BaseException:
            session.give_back(taken)
            raise
        if isinstance(intent, Storing) and intent.logs_in:
            await self._logged_in(session)
        return action

    @asynccontextmanager
    async def transaction(
        self, handle: str | None, *, keeps_alive: bool = True
    ) -> AsyncIterator[Session]:
        """Open the session with this handle outside a request, to read and change it.

        Changes are stored at the end of the block, unless it raises; `destroy()` is stored even
        then. `login()`, `renew()` and `reset()` raise `NoResponse`. If there is no such session, or
        *handle* is None, the session is empty and `ended`, and writing raises `SessionEnded`.

        With *keeps_alive* (True) this counts as use of the session, otherwise only a change does.
        """
        record = None if handle is None else await self._writer.living_by_handle(handle)
        session = self._reader.session(None) if record is None else self._reader.readable(record)
        async with self.committing(session, keeps_alive=keeps_alive):
            yield session

    @asynccontextmanager
    async def committing(self, session: Session, *, keeps_alive: bool) -> AsyncIterator[None]:
        """Do the same as `transaction` with a *session* that is open already."""
        if session.is_new:
            session.end(session.ended_reason)
        session.response = "none"
        session.keeps_alive = keeps_alive
        try:
            async with self._ending_at_least(session):
                yield
            await self.commit(session)
        finally:
            session.response = "complete"

    @asynccontextmanager
    async def _ending_at_least(self, session: Session) -> AsyncIterator[None]:
        """If the block raises, commit the end of *session* if there is one, and nothing else."""
        try:
            yield
        except (Exception, asyncio.CancelledError):
            await self.commit(session, intent=self.intent(session, only_end=True))
            raise

    async def update(self, handle: str, function: Callable[[Session], object]) -> Session | None:
        """Change a stored session by a function, for changes such as "take one if any is left".

        *function* gets the newest copy and is called again until its changes are stored, so it must
        have no side effects and must not be async (`TypeError`). Its result is ignored. `login()`,
        `renew()` and `reset()` raise `NoResponse`. Returns the session; None if there is none.
        """

        async def find() -> SessionRecord | None:
            return await self._writer.living_by_handle(handle)

        session = await self._update(await find(), function, find)
        if session is not None:
            session.response = "complete"
        return session

    async def update_from(
        self,
        record: SessionRecord,
        function: Callable[[Session], object],
        *,
        keeps_alive: bool = True,
    ) -> Session | None:
        """`update` the session that was loaded as *record*, also if its id has changed.

        If its user has changed, return None. Without *keeps_alive* (True), a function that changes
        nothing does not count as use of the session.
        """

        async def find() -> SessionRecord | None:
            return await self._reader.living(record.key) or await self._writer.successor_of(record)

        return await self._update(await find(), function, find, keeps_alive=keeps_alive)

    async def _update(
        self,
        record: SessionRecord | None,
        function: Callable[[Session], object],
        find: Callable[[], Awaitable[SessionRecord | None]],
        *,
        keeps_alive: bool = True,
    ) -> Session | None:
        """Update the session in *record*; if that is gone, in the record that *find* returns."""
        while record is not None:
            session = self._reader.readable(record)
            session.response, session.keeps_alive = "none", keeps_alive
            async with self._ending_at_least(session):
                refuse_coroutine(function(session))
            session.response = "not started"
            intent = self.intent(session)
            if not isinstance(intent, Change):
                await self.commit(session, intent=intent)
                return session
            standing = Standing(record, session.document)
            wanted = self._codec.rebuild(standing, Commit(standing, intent.changes))
            match await self._shared.swap(Swap(record, wanted.record)):
                case Conflict(winner):
                    record = winner
                case Saved():
                    session.take_draft(intent)
                    session.rebase_on(*wanted)
                    return session
                case Gone():
                    record = await find()
        return None

    async def sessions_of(self, user_id: str) -> Sequence[Session]:
        """Return the valid sessions of a user, newest first; they are read-only.

        Sessions that cannot be read are included without data; `revoke` can end them.
        """
        return [session async for session in self.read(await self.facts_of(user_id))]

    async def facts_of(self, user_id: str) -> Sequence[Listed]:
        """Return the valid sessions of a user, newest first, without their data, for a list.

        Each has a `handle`, its `size` in bytes and its moments. `read` loads their data.
        """
        return await self._reader.facts_of(user_id)

    def read(self, listed: Sequence[Listed]) -> AsyncIterator[Session]:
        """Yield the *listed* sessions with their data, in that order; they are read-only.

        Sessions that have ended since are omitted. Sessions whose ids have changed are found.
        """
        return self._reader.read(listed)

    @options.checked(batch=options.count)
    def all(self, *, batch: int = 500) -> AsyncIterator[Session]:
        """Yield all valid sessions, ordered by expiry; they are read-only.

        *batch* of them are read at a time (500).
        """
        return self._reader.all(batch)

    async def length(self) -> int:
        """Return the number of sessions that have not expired, even if they begin in the future."""
        return await self.store.count(self.now())

    @options.checked(batch=options.count)
    async def clear(self, *, batch: int = 500) -> int:
        """End all sessions and delete all tombstones, *batch* (500) at a time.

        Returns how many sessions were ended.
        """
        count, now = 0, self.now()
        while page := await self.store.page(None, batch):
            living = [record for record in page if record.expires_at > now]
            count += await self._endings.end(living, EndedReason.REVOKED, is_told=False)
            await self.store.delete([record.key for record in page])
        return count

    async def find(self, handle: str) -> Session | None:
        """Return the valid session with this handle, read-only.

        Returns None if there is none, or if it cannot be read.
        """
        record = await self._writer.living_by_handle(handle)
        if record is None:
            return None
        session = self._reader.to_look_at(record)
        return None if isinstance(session.refusal, SessionUnreadable) else session

    async def revoke(self, *handles: str, user_id: str | None = None) -> int:
        """End sessions, in all processes; return how many there were.

        Args:
            handles: The handles of the sessions; a handle without a session is ignored.
            user_id: End only those of this user (None: of any user). Pass it if the handles come
                from a form or a URL.

        """
        if user_id is not None:
            check_user_id(user_id)
        return await self._endings.end_by_handle(handles, EndedReason.REVOKED, user_id)

    async def revoke_user(
        self, user_id: str, *, keep: Session | str | Collection[Session | str | None] | None = ()
    ) -> int:
        """End the sessions of a user, in all processes; return how many there were.

        Args:
            user_id: The user.
            keep: Sessions or handles that must not end: one or several (none).

        """
        check_user_id(user_id)
        kept = [keep] if keep is None or isinstance(keep, Session | str) else keep
        handles = {one.handle if isinstance(one, Session) else one for one in kept}
        return await self._endings.end_user(user_id, EndedReason.REVOKED, handles)

    @options.checked(batch=options.count)
    async def purge(
        self,
        *,
        batch: int = 50,
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Delete expired sessions, *batch* (50) at a time; return how many there were.

        Tombstones older than `remember_ended` are deleted, too. After each batch it pauses for four
        times the duration of the batch, at most 1 second, so that requests are not delayed.
        *progress* (None) is called with the size of each batch.
        """
        total = await purge(self.store, self._endings, self.now, batch, progress)
        self.emit(Purged(total))
        return total

    async def aclose(self) -> None:
        """Stop purging and watching, and close the store."""
        await self.watcher.aclose()
        self._purger.stop()
        await self.store.aclose()

    async def __aenter__(self) -> Self:
        self._purger.begin()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    def on(self, kind: type[E]) -> Callable[[Callable[[E], object]], Callable[[E], object]]:
        """Return a decorator for a function to call with each event of this *kind*.

        The function runs on the event loop and must not block. Its errors are only logged.
        """

        def subscribe(function: Callable[[E], object]) -> Callable[[E], object]:
            def hook(event: SessionEvent) -> None:
                if isinstance(event, kind):
                    function(event)

            self._hooks.append(hook)
            return function

        return subscribe

    def emit(self, event: SessionEvent) -> None:
        """Call the hooks with *event*."""
        emit(self._hooks, event)

    async def _logged_in(self, session: Session) -> None:
        record = session.record
        if record is None or record.user_id is None:
            return
        self.emit(LoggedIn(record.handle, record.user_id))
        if self._max_sessions_per_user is not None:
            find = partial(self.facts_of, record.user_id)
            await self._endings.end_oldest(find, self._max_sessions_per_user, record)
