"""Sessions as a service: open one by its id, commit what a request did, find, revoke and purge.

What a request costs: `open` is one load, shared with all requests of the moment; `commit` is one
save, shared likewise, if something changed, and otherwise nothing, or once in a `touch_interval`
a shared touch.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
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
from hello_tornado.sessions.records.record import (
    Conflict,
    Gone,
    Listed,
    Saved,
    SessionRecord,
    Swap,
)
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
    """Raise `TypeError` when a function that updates a session turns out to be asynchronous."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise TypeError(
            "a function that updates a session may be called again: it must not be async"
        )


class SessionManager:
    """The sessions in one store, given as such or by a URL: opens, commits, finds and ends them.

    `async with SessionManager(url) as manager:` closes it at the end. Durations are timedeltas or
    numbers of seconds. An option that cannot be meant is a `ConfigurationError`.

    - `lifetimes`: when sessions end; by default after an hour without use, and after a day.
    - `cookie`: a `CookiePolicy` (the default), a `TokenPolicy`, or a function from the request to
      one.
    - `serializer` (JSON) and `cipher` (none): what the store gets.
    - `resave` (False) stores sessions that were only read, too, and `save_uninitialized` (False)
      those that nobody has written to. `rolling` (False) sends the cookie with every response.
    - `unset` ("keep" or "destroy"): what `del handler.session` does to the stored session.
    - `genid` makes an id, given the request if there is one.
    - `touch_interval` (a minute): how often a request that changes nothing moves the expiry.
    - `remember_ended` (an hour): how long the reason is told for which a session ended.
    - `max_sessions_per_user` (None): how many a user may have; beyond, the oldest ends.
    - `max_bytes` (64 KiB): more data than that is refused.
    - `purge_every` (5 minutes): how often expired sessions are deleted, `purge_batch` (50) at a
      time, from the first use on; None: never.
    - `trusted_proxies` (None): the addresses and networks whose X-Forwarded-Proto and
      X-Forwarded-For are believed; an empty list: nobody's. None leaves it to Tornado.
    - `metrics` (None): a `SessionMetrics`, which counts events and the calls to the store.
    - `hooks` are told of every event; see `on`, too. `log` (True): so is the logger
      `hello_tornado.sessions`.
    - `clock` tells the moment in microseconds since 1970.
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
            used=self._purger.begin,  # a session that is opened, in whichever way, is use
            emit=self.emit,
        )
        self.watcher = Watcher(self.store, self._endings.reasons, clock, self.emit)
        self._hooks.append(self.watcher)

    def open(self, session_id: SessionId | None) -> Awaitable[Session]:
        """The session with this id, or a new one: without an id, or when it is unknown or over.

        A new session is not stored before it is committed, and then gets an id of its own. In the
        place of one that has ended it knows the `ended_reason`.
        """
        return self._open(None if session_id is None else key_of(session_id))

    async def reload(self, session: Session) -> Session:
        """The same session as it stands in the store now, under whichever id.

        When it has ended, the answer is an ended session, which refuses writes and knows the
        `ended_reason`. Of a session that was never stored, a new one.
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
        session.presented = (key,)  # for a logout: by another process's clock it may still live
        self.emit(Expired(record.handle, record.user_id))
        return session

    async def _tombstone_of(self, key: SessionKey) -> Tombstone | None:
        return self._endings.read(await self._shared.load(tombstone_key_of(key)))

    def _session_after(self, tombstone: Tombstone | None, now: int) -> Session:
        """A new session in the place of one that has ended, or whose id was renewed."""
        if tombstone is None:
            session = self._reader.session(None, now)
            session.ended_reason = self._endings.unexplained
            return session
        session = self._reader.session(None, now)
        session.tombstone = tombstone if self._endings.is_just_now(tombstone) else None
        session.ended_reason = None if tombstone.reason is EndedReason.RENEWED else tombstone.reason
        return session

    async def is_living(self, session_id: SessionId) -> bool:
        """Whether the store has a living session under this id."""
        return await self._reader.living(key_of(session_id)) is not None

    def intent(self, session: Session, *, only_end: bool = False) -> Intent:
        """What `commit` would do now; raises what makes it impossible.

        With *only_end* all changes are forgotten but the end of the session.
        """
        return session.intent(self.rules, self.now(), only_end=only_end)

    def draw_id(self, session: Session, request: object) -> SessionId:
        """The id that *session* gets if this request begins or renews it."""
        return self._writer.draw_id(session, request)

    async def commit(
        self, session: Session, request: object = None, intent: Intent | None = None
    ) -> CookieAction:
        """Store what was done to *session*; says what the browser's cookie should become.

        The *request* is for `genid`, the *intent* that of the session if it is known already. When
        the session has ended meanwhile, elsewhere, the changes are dropped: `Keep`. When an error
        is raised, the session still has all changes, and may be committed again.
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
        """Open the session with this handle outside of a request, under whichever id it stands.

        It is committed on leaving, unless by an exception. That counts as use of it, unless not
        *keeps_alive* and nothing is changed. `destroy()` ends it, also if an exception follows;
        `login()`, `renew()` and `reset()` need a response and raise `NoResponse`. No session
        begins here: without a living one (also when *handle* is None) it is empty, `ended`, and
        refuses writes.
        """
        record = None if handle is None else await self._writer.living_by_handle(handle)
        session = self._reader.session(None) if record is None else self._reader.readable(record)
        async with self.committing(session, keeps_alive=keeps_alive):
            yield session

    @asynccontextmanager
    async def committing(self, session: Session, *, keeps_alive: bool) -> AsyncIterator[None]:
        """A `transaction` with a *session* that is open already."""
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
        """When an exception leaves the block, commit the end of *session*, and only that."""
        try:
            yield
        except (Exception, asyncio.CancelledError):
            await self.commit(session, intent=self.intent(session, only_end=True))
            raise

    async def update(self, handle: str, function: Callable[[Session], object]) -> Session | None:
        """Apply a *function* to the newest copy of the session with this handle; returns the copy.

        For what no operation expresses, such as "take one if any is left". The function is called
        again on the newest copy until the result is stored, so it must do nothing else. What it
        returns is ignored. `destroy()` ends the session; `login()`, `renew()` and `reset()`
        need a response and raise `NoResponse`. None when there is no such session.
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
        """`update` the session that was loaded as *record*, also under the id that it has now.

        A new id is followed only if the session is still the same user's. Unless it *keeps_alive*,
        a function that changes nothing is no use of the session.
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
        """Update the session in *record*, and in what *find* finds when it is no longer there."""
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
        """The living sessions of a user, newest first, to look at: they refuse writes.

        One that cannot be read is among them, without its data: `revoke` ends it by its handle.
        """
        return [session async for session in self.read(await self.facts_of(user_id))]

    async def facts_of(self, user_id: str) -> Sequence[Listed]:
        """The living sessions of a user, newest first, without their data: what a list needs.

        Each has a `handle`, a `size` and its moments. `read` gives the sessions to some of them.
        """
        return await self._reader.facts_of(user_id)

    def read(self, listed: Sequence[Listed]) -> AsyncIterator[Session]:
        """The sessions that were *listed*, with their data, in that order; they refuse writes.

        One that has ended since is left out; one whose id was renewed is found by its handle.
        """
        return self._reader.read(listed)

    @options.checked(batch=options.count)
    def all(self, *, batch: int = 500) -> AsyncIterator[Session]:
        """Every living session, those that end soonest first; *batch* of them are read at a time.

        They refuse writes.
        """
        return self._reader.all(batch)

    async def length(self) -> int:
        """How many sessions are alive; those that began in the future are counted, too."""
        return await self.store.count(self.now())

    @options.checked(batch=options.count)
    async def clear(self, *, batch: int = 500) -> int:
        """End every session and forget the ended ones; returns how many were alive."""
        count, now = 0, self.now()
        while page := await self.store.page(None, batch):
            living = [record for record in page if record.expires_at > now]
            count += await self._endings.end(living, EndedReason.REVOKED, is_told=False)
            await self.store.delete([record.key for record in page])
        return count

    async def find(self, handle: str) -> Session | None:
        """The living session that has this handle, to look at: it refuses writes.

        None when there is none, and when it cannot be read.
        """
        record = await self._writer.living_by_handle(handle)
        if record is None:
            return None
        session = self._reader.to_look_at(record)
        return None if isinstance(session.refusal, SessionUnreadable) else session

    async def revoke(self, *handles: str, user_id: str | None = None) -> int:
        """End these sessions, wherever they are in use; returns how many there were.

        With *user_id* only those of this user: for handles that come from a form or an address.
        """
        if user_id is not None:
            check_user_id(user_id)
        return await self._endings.end_by_handle(handles, EndedReason.REVOKED, user_id)

    async def revoke_user(
        self, user_id: str, *, keep: Session | str | Collection[Session | str | None] | None = ()
    ) -> int:
        """End all sessions of a user but those in *keep*; returns how many there were.

        *keep* is a session or a handle, or several of them.
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
        """Delete the sessions that have expired, *batch* by *batch*; returns how many there were.

        What is remembered of ended sessions is deleted, too, once `remember_ended` has passed.
        Between two batches it rests four times as long as the last one took, for requests go first.
        *progress* is told the size of each batch that is done.
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
        """Let the decorated function be told of each event of this *kind*.

        It is called on the event loop, with the event, so it must not block. What it raises is
        logged, and harms nobody.
        """

        def subscribe(function: Callable[[E], object]) -> Callable[[E], object]:
            def hook(event: SessionEvent) -> None:
                if isinstance(event, kind):
                    function(event)

            self._hooks.append(hook)
            return function

        return subscribe

    def emit(self, event: SessionEvent) -> None:
        """Tell the hooks of *event*."""
        emit(self._hooks, event)

    async def _logged_in(self, session: Session) -> None:
        record = session.record
        if record is None or record.user_id is None:
            return
        self.emit(LoggedIn(record.handle, record.user_id))
        if self._max_sessions_per_user is not None:
            # By one order for all: so logins that run side by side end the same ones.
            sessions = await self.facts_of(record.user_id)
            await self.revoke(*[one.handle for one in sessions[self._max_sessions_per_user :]])
