"""Sessions as a service: open one by its id, commit what a request did, find, revoke and purge.

What a request costs: `open` is one load, shared with all requests of the moment; `commit` is one
save, shared likewise, if something changed, and otherwise nothing, or once in a `touch_interval`
a shared touch.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

from hello_tornado.sessions import options
from hello_tornado.sessions.actions import Clear, CookieAction, Issue, Keep
from hello_tornado.sessions.changes import Update
from hello_tornado.sessions.ciphers import Cipher, Plain
from hello_tornado.sessions.codec import Codec
from hello_tornado.sessions.committer import Commit, Committed, Committer
from hello_tornado.sessions.document import empty_document
from hello_tornado.sessions.errors import ConfigurationError, SerializationError, StoreError
from hello_tornado.sessions.event_log import EventLog
from hello_tornado.sessions.events import (
    CommitDropped,
    Created,
    Ended,
    Expired,
    FarewellFailed,
    Hook,
    LoggedIn,
    Purged,
    RecordUnreadable,
    Renewed,
    SessionEvent,
    TouchFailed,
    emit,
)
from hello_tornado.sessions.farewells import Farewells
from hello_tornado.sessions.ids import (
    SessionId,
    SessionKey,
    is_session_id,
    key_of,
    new_session_id,
)
from hello_tornado.sessions.lifetimes import MICROSECOND, Lifetimes, as_timedelta
from hello_tornado.sessions.purger import Purger
from hello_tornado.sessions.record import Conflict, Gone, Saved, SessionRecord, Swap
from hello_tornado.sessions.serializers import JsonSerializer, Serializer
from hello_tornado.sessions.session import EndedReason, Session
from hello_tornado.sessions.shared import SharedStore
from hello_tornado.sessions.stores import Announcing, Store, as_store
from hello_tornado.sessions.values import check_user_id
from hello_tornado.sessions.watcher import Watcher

Clock: TypeAlias = Callable[[], int]
Find: TypeAlias = Callable[[], Awaitable[Sequence[SessionRecord]]]

MAX_BYTES: Final = 64 * 1024
REST: Final = 4  # times what it rests from; measured by bench.scale
MAX_REST: Final = timedelta(seconds=1)
MAX_TRIES: Final = 8  # at an id that nobody has; with 216 random bits the first one does


def random_id(_request: object) -> str:
    """The usual `genid`."""
    return new_session_id()


def system_clock() -> int:
    """The moment now: microseconds since 1970."""
    return time.time_ns() // 1_000


HOOK: Final = options.function(1, "EventLog(system_clock)")
CHECKS: Final[Mapping[str, options.Check]] = {
    "lifetimes": options.optional(
        options.instance_of(Lifetimes, "Lifetimes(idle=timedelta(hours=1))")
    ),
    "serializer": options.optional(options.implements(Serializer, "JsonSerializer()")),
    "cipher": options.optional(options.implements(Cipher, "AesGcm([key])")),
    "resave": options.flag,
    "save_uninitialized": options.flag,
    "rolling": options.flag,
    "unset": options.one_of("keep", "destroy"),
    "genid": options.function(1, "lambda request: secrets.token_urlsafe(27)"),
    "touch_interval": options.duration(least=timedelta(0)),
    "remember_ended": options.duration(least=timedelta(0)),
    "max_sessions_per_user": options.optional(options.count),
    "max_bytes": options.count,
    "hooks": options.optional(options.several(HOOK)),
    "clock": options.clock,
}


class SessionManager:
    """Opens and commits sessions over one store, or over the one that a URL names.

    The options have the meaning that express-session gives them: `resave` stores unchanged
    sessions too, `save_uninitialized` also those that nobody has written to, `rolling` sends the
    cookie with every response, `unset` says what `del handler.session` does to the stored session
    ("keep" or "destroy"), `genid` makes an id, given the request if there is one. A request that
    changes nothing moves the expiry forward at most once in `touch_interval`. Why a session ended
    is told for `remember_ended` afterwards. Of a user who logs in for the time after
    `max_sessions_per_user`, the oldest session ends. Data beyond `max_bytes` is refused, and what
    the store gets is encrypted by a `cipher`. Each of `hooks` is told of every event, by default a
    log; `clock` tells the moment in microseconds since 1970. Durations are timedeltas or numbers of
    seconds. An option that cannot be meant is a `ConfigurationError`.
    """

    @options.checked(**CHECKS)
    def __init__(
        self,
        store: Store | str,
        *,
        lifetimes: Lifetimes | None = None,
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
        hooks: Sequence[Hook] | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self.store = as_store(store)
        self.lifetimes = lifetimes or Lifetimes()
        self.rolling = rolling
        self.unset = unset
        self.touch_after = as_timedelta(touch_interval) // MICROSECOND
        self.remember_ended = as_timedelta(remember_ended)
        self._max_sessions_per_user = max_sessions_per_user
        self._serializer = serializer or JsonSerializer()
        self._resave = resave
        self._save_uninitialized = save_uninitialized
        self._genid = genid
        self._hooks: list[Hook] = [EventLog(clock)] if hooks is None else [*hooks]
        self.now = clock
        self._codec = Codec(self._serializer, cipher or Plain(), self.lifetimes, max_bytes, clock)
        self._shared = SharedStore(self.store)
        self._farewells = Farewells(self.store, self._codec, clock, self.remember_ended)
        self._committer = Committer(self.store.save, self._codec.rebuild)
        self._purgers: list[Purger] = []
        self.watcher = Watcher(self.store, self._farewells.reasons, clock, self.emit)
        self._hooks.append(self.watcher)

    async def open(self, session_id: SessionId | None) -> Session:
        """The session with this id, or a new one: without an id, or when it is unknown or over.

        A new session is not stored before it is committed, and then gets an id of its own. In the
        place of one that has ended it knows the `ended_reason`.
        """
        if session_id is None:
            return self._session(None)
        key = key_of(session_id)
        record, now = await self._shared.load(key), self.now()
        if record is not None and record.expires_at > now:
            return self._session(record, now)
        session = self._session(None, now)
        session.ended_reason = await self._farewells.reason(key, record)
        if record is not None:
            self.emit(Expired(record.handle, record.user_id))
        return session

    async def reload(self, session: Session) -> Session:
        """The same session as it stands in the store now; a new one when it has ended."""
        record = session.record and await self._live_record(session.record.key)
        return self._session(record)

    async def is_living(self, session: Session) -> bool:
        """Whether the store still has this session, under the id by which it was opened."""
        record = session.record
        return record is not None and await self._live_record(record.key) is not None

    def needs_store(self, session: Session) -> bool:
        """Whether `commit` has anything to ask of the store."""
        if session.record is None:
            return self._save_uninitialized or session.has_changes
        return session.modified or self._resave or self._is_touch_due(session)

    async def commit(self, session: Session, request: object = None) -> CookieAction:
        """Store what was done to *session*; says what the browser's cookie should become.

        The *request* is for `genid`.

        When the session has ended meanwhile, elsewhere, the changes are dropped: `Keep`.
        """
        if session.ended:
            return await self._end(session)
        changes, logs_in = session.changes(), session.logs_in
        action: CookieAction = Keep()
        if session.record is None:
            if changes or self._save_uninitialized:
                action = Issue(await self._create(session, changes, request))
        elif changes or session.renewal or self._resave:
            action = await self._update(session, session.record, changes, request)
        elif self._is_touch_due(session):
            await self._touch_quietly(session, session.record)
        if logs_in and session.user_id is not None:
            await self._logged_in(session.record, session.user_id)
        return action

    @asynccontextmanager
    async def transaction(
        self, session_id: SessionId | None, *, keeps_alive: bool = True
    ) -> AsyncIterator[Session]:
        """Open a session outside of a request; commit on leaving, unless by an exception.

        That counts as use of it, unless not *keeps_alive* and nothing is changed. No session
        begins here: without a living one it is empty, `ended`, and refuses writes.
        """
        session = await self.open(session_id)
        if session.is_new:
            session.settle_ended()
        session.keeps_alive = keeps_alive
        yield session
        await self.commit(session)

    async def update(
        self, session_id: SessionId, function: Callable[[Session], None]
    ) -> Session | None:
        """Apply a pure *function* to the newest copy of a session, again until it is stored.

        For what no operation expresses, such as "take one if any is left". None when there is no
        such session.
        """
        record = await self._live_record(key_of(session_id))
        while record is not None:
            session = self._session(record)
            function(session)
            changes = session.changes()
            if not changes:
                return session
            wanted = self._codec.rebuild(record, Commit(record, changes))
            match await self._shared.swap(Swap(record, wanted.record)):
                case Conflict(winner):
                    record = winner
                case Saved():
                    session.settle(*wanted)
                    return session
                case Gone():
                    return None
        return None

    async def sessions_of(self, user_id: str) -> Sequence[Session]:
        """The living sessions of a user, newest first."""
        check_user_id(user_id)
        now = self.now()
        records = await self.store.find_by_user(user_id)
        return [self._session(record) for record in records if record.expires_at > now]

    async def all(self, *, batch: int = 500) -> AsyncIterator[Session]:
        """Every living session, those that end soonest first; *batch* of them at a time."""
        now, last = self.now(), None
        while page := await self.store.page(last, batch):
            for record in page:
                if record.expires_at > now:
                    yield self._session(record)
            last = page[-1]

    async def length(self) -> int:
        """How many sessions are alive."""
        return await self.store.count(self.now())

    async def clear(self, *, batch: int = 500) -> int:
        """End every session and forget the ended ones; returns how many were alive."""
        count, now = 0, self.now()
        while page := await self.store.page(None, batch):
            deleted = await self.store.delete([record.key for record in page])
            count += self._tell_ended(
                [one for one in page if one.key in deleted and one.expires_at > now], "revoked"
            )
        return count

    async def find(self, handle: str) -> Session | None:
        """The living session that has this handle, to look at."""
        found = await self.store.find_by_handle([handle])
        living = [self._session(record) for record in found if record.expires_at > self.now()]
        return living[0] if living else None

    async def revoke(self, *handles: str) -> int:
        """End these sessions, wherever they are in use; returns how many there were."""
        return await self._end_found(lambda: self.store.find_by_handle(handles), "revoked")

    async def revoke_user(self, user_id: str, *, keep: Collection[str] = ()) -> int:
        """End all sessions of a user but those whose handles are in *keep*; returns how many."""
        check_user_id(user_id)

        async def find() -> Sequence[SessionRecord]:
            records = await self.store.find_by_user(user_id)
            return [record for record in records if record.handle not in keep]

        return await self._end_found(find, "revoked")

    def purge_every(self, interval: timedelta | float, *, batch: int = 50) -> Purger:
        """Delete ended sessions every *interval* (a timedelta or seconds) from now on.

        What is still remembered as ended stays.
        """
        if not isinstance(interval, timedelta):
            interval = timedelta(seconds=interval)
        purger = Purger(
            lambda: self.purge(batch=batch, ended_for=self.remember_ended),
            interval,
            emit=self.emit,
        )
        self._purgers.append(purger)
        purger.start()
        return purger

    async def purge(
        self,
        *,
        batch: int = 50,
        ended_for: timedelta = timedelta(0),
        progress: Callable[[int], object] | None = None,
    ) -> int:
        """Delete what has been over for *ended_for*, *batch* by *batch*; returns how many records.

        Between two batches it rests four times as long as the last one took, for requests go first.
        *progress* is told the size of each batch that is done.
        """
        begun, total = self.now(), 0
        over = begun - ended_for // MICROSECOND
        while purged := await self.store.purge(over, batch):
            total += purged
            if progress is not None:
                progress(purged)
            if purged < batch:
                break
            rest = REST * (self.now() - begun) * MICROSECOND
            await asyncio.sleep(max(0, min(rest, MAX_REST).total_seconds()))
            begun = self.now()
        self.emit(Purged(total))
        return total

    async def aclose(self) -> None:
        """Stop purging and watching, and close the store."""
        await self.watcher.aclose()
        for purger in self._purgers:
            purger.stop()
        await self.store.aclose()

    def emit(self, event: SessionEvent) -> None:
        """Tell the hooks of *event*."""
        emit(self._hooks, event)

    async def _live_record(self, key: SessionKey) -> SessionRecord | None:
        record = await self._shared.load(key)
        return record if record is not None and record.expires_at > self.now() else None

    def _session(self, record: SessionRecord | None, now: int | None = None) -> Session:
        opened_at, document = self.now() if now is None else now, empty_document()
        if record is not None:
            try:
                document = self._codec.document(record, opened_at)
            except SerializationError as error:
                self.emit(RecordUnreadable(record.handle, str(error)))
                record = None
        return Session(
            record,
            document,
            opened_at=opened_at,
            lifetimes=self.lifetimes,
            serializer=self._serializer,
        )

    def _is_touch_due(self, session: Session) -> bool:
        record = session.record
        if record is None:
            return False
        return session.touched or (
            session.keeps_alive and self.now() - record.accessed_at >= self.touch_after
        )

    def _new_id(self, request: object) -> SessionId:
        given = self._genid(request)
        if not is_session_id(given):
            raise ConfigurationError(
                "genid must give a str of 22 to 128 printable characters, such as "
                "secrets.token_urlsafe(32)"
            )
        return SessionId(given)

    async def _create(self, session: Session, changes: Update, request: object) -> SessionId:
        for _ in range(MAX_TRIES):
            session_id = self._new_id(request)
            wanted = self._codec.create(key_of(session_id), changes)
            if isinstance(await self._shared.swap(Swap(None, wanted.record)), Saved):
                session.settle(*wanted)
                self.emit(Created(wanted.record.handle, wanted.record.user_id))
                return session_id
        raise StoreError(f"genid gave {MAX_TRIES} ids in a row that are taken")

    async def _update(
        self, session: Session, record: SessionRecord, changes: Update, request: object
    ) -> CookieAction:
        if session.renewal is None:
            action: CookieAction = Keep()
            result = await self._committer.commit(Commit(record, changes))
        else:
            for _ in range(MAX_TRIES):
                action = Issue(self._new_id(request))
                result = await self._committer.commit(
                    Commit(record, changes, key_of(action.session_id), session.renewal)
                )
                if not isinstance(result, Conflict):
                    break
        match result:
            case Committed(stored, document):
                if session.renewal is not None:
                    self.emit(Renewed(stored.handle, stored.user_id))
                session.settle(stored, document)
                return action
            case Gone():
                session.settle_ended()
                self.emit(CommitDropped(record.handle))
                return Keep()
            case Conflict():
                raise StoreError(f"genid gave {MAX_TRIES} ids in a row that are taken")

    async def _logged_in(self, record: SessionRecord | None, user_id: str) -> None:
        handle = record.handle if record else ""
        self.emit(LoggedIn(handle, user_id))
        if self._max_sessions_per_user is not None:
            # By one order for all: so logins that run side by side end the same ones.
            sessions = await self.sessions_of(user_id)
            oldest = [one.handle for one in sessions[self._max_sessions_per_user :]]
            await self.revoke(*[handle for handle in oldest if handle is not None])

    async def _touch_quietly(self, session: Session, record: SessionRecord) -> None:
        touched = self._codec.touched(record, session.max_age)
        try:
            if touched.version == record.version:
                await self._shared.touch(touched)
            elif not isinstance(await self._shared.swap(Swap(record, touched)), Saved):
                return  # a request that ran beside this one has saved it, or ended it
        except StoreError as error:
            self.emit(TouchFailed(record.handle, str(error)))
        else:
            session.record = touched

    async def _end(self, session: Session) -> CookieAction:
        record = session.record
        if record is not None and not await self._end_all([record], "logged out"):
            # It may live on under another id, given by a request that ran beside this one.
            await self._end_found(lambda: self.store.find_by_handle([record.handle]), "logged out")
        return Clear()

    async def _end_found(self, find: Find, reason: EndedReason) -> int:
        """End what *find* finds, until it finds nothing: an id may be renewed in between."""
        count = 0
        while records := await find():
            count += await self._end_all(records, reason)
        return count

    async def _end_all(self, records: Sequence[SessionRecord], reason: EndedReason) -> int:
        deleted = await self.store.delete([record.key for record in records])
        if not deleted:
            return 0
        ended = [one for one in records if one.key in deleted]
        try:
            await self._farewells.leave(deleted, reason)
        except StoreError as error:
            self.emit(FarewellFailed(str(error)))  # what matters is done: they are over
        if isinstance(self.store, Announcing):
            with suppress(StoreError):  # then the others will see it when they look
                await self.store.announce([one.handle for one in ended])
        return self._tell_ended(ended, reason)

    def _tell_ended(self, records: Sequence[SessionRecord], reason: EndedReason) -> int:
        for record in records:
            self.emit(Ended(record.handle, record.user_id, reason))
        return len(records)
