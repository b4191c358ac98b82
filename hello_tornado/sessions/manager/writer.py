"""Carries out the intents of requests: creates, changes, touches or ends sessions in the store.

The manager opens sessions and decides when they are committed. Everything that a commit writes goes
through `Writer.carry_out`.
"""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from hello_tornado.sessions.errors import ConfigurationError, SessionUnreadable, StoreError
from hello_tornado.sessions.events import (
    CommitDropped,
    Created,
    EndedReason,
    Renewed,
    SessionEvent,
    TouchFailed,
)
from hello_tornado.sessions.manager.actions import KEEP, Clear, CookieAction, Issue
from hello_tornado.sessions.manager.codec import Codec
from hello_tornado.sessions.manager.committer import Commit, Committed, Committer, Standing
from hello_tornado.sessions.manager.endings import Endings
from hello_tornado.sessions.records.ids import SessionId, is_session_id, key_of
from hello_tornado.sessions.records.record import Conflict, Gone, Saved, SessionRecord, Swap
from hello_tornado.sessions.session.document import Document, empty_document
from hello_tornado.sessions.session.draft import Create, Drop, End, Intent, Renewal, Touch
from hello_tornado.sessions.session.draft import Update as Change
from hello_tornado.sessions.session.operations import Update
from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.stores import placement_of
from hello_tornado.sessions.stores.batched_store import BatchedStore

# The probability that no draw is in a given one of 64 partitions is 1 in 10^14.
MAX_DRAWS: Final = 2048
MAX_TRIES: Final = 8  # for an unused id; with 216 random bits the first one always is


class Writer:
    """Carries out intents.

    Args:
        shared: The store, with batched calls.
        codec: Builds records.
        endings: Ends sessions.
        genid: Takes the request and returns a new session id.
        emit: Called with events.

    """

    def __init__(
        self,
        shared: BatchedStore,
        codec: Codec,
        endings: Endings,
        genid: Callable[[Any], str],
        emit: Callable[[SessionEvent], None],
    ) -> None:
        self._shared = shared
        self._committer = Committer(shared.store, codec.rebuild, endings.renewal)
        self._codec = codec
        self._endings = endings
        self._genid = genid
        self._placement = placement_of(shared.store)
        self._now = codec.clock
        self._emit = emit

    async def carry_out(self, intent: Intent, session: Session, request: object) -> CookieAction:
        """Carry out *intent* and return what to do about the browser's cookie."""
        match intent:
            case Create():
                return await self._create(session, intent, request)
            case Change():
                return await self._change(session, intent, request)
            case Touch():
                await self._touch_quietly(session)
            case End(everywhere):
                if everywhere is not None:  # before this one, so that a failure can be repeated
                    kept = [session.handle]
                    await self._endings.end_user(everywhere, EndedReason.REVOKED, kept)
                return await self._end(session)
            case Drop(handle):
                self._emit(CommitDropped(handle))
        return KEEP

    def draw_id(
        self, session: Session, request: object, old: SessionRecord | None = None
    ) -> SessionId:
        """Return the id that *session* gets if this request begins or renews it.

        A renewed id is in the partition of the old record (*old*, or else that of the session).
        """
        old = session.record if old is None else old
        placement, drawn = self._placement, session.next_id
        if placement is None or old is None:
            drawn = drawn or self._new_id(request)
        else:
            wanted, tries = placement.partition_of(old.key), count()
            while drawn is None or placement.partition_of(key_of(drawn)) != wanted:
                if next(tries) == MAX_DRAWS:
                    raise ConfigurationError(
                        f"genid returned {MAX_DRAWS} ids in a row that are not in the session's "
                        "partition of the store: its ids must be random"
                    )
                drawn = self._new_id(request)
        session.next_id = drawn
        return drawn

    def _new_id(self, request: object) -> SessionId:
        given = self._genid(request)
        if not is_session_id(given):
            raise ConfigurationError(
                "genid must return a str of 22 to 128 printable characters, such as "
                "secrets.token_urlsafe(32)"
            )
        return SessionId(given)

    async def _create(
        self, session: Session, intent: Create, request: object, base: Document | None = None
    ) -> CookieAction:
        if base is None and session.tombstone is not None:
            base = await self._base_of_a_repeated_login(session, session.tombstone.handle)
        for _ in range(MAX_TRIES):
            session_id = self.draw_id(session, request)
            wanted = self._codec.create(key_of(session_id), intent.changes, base)
            outcome = await self._shared.swap(Swap(None, wanted.record))
            session.next_id = None  # it is in use now
            if isinstance(outcome, Saved):
                session.rebase_on(*wanted)
                self._emit(Created(wanted.record.handle, wanted.record.user_id))
                return Issue(session_id)
        raise StoreError(f"genid returned {MAX_TRIES} ids in a row that are taken")

    async def _base_of_a_repeated_login(self, session: Session, handle: str) -> Document | None:
        """Return the data for the second of two equal logins, as sent by a double click.

        The first login gave the session a new id, which the browser may never receive. The session
        contains the data from before the login, which only the same user may see.
        """
        first = await self.living_by_handle(handle)
        if first is None or first.user_id is None or first.user_id != session.user_id:
            return None
        try:
            return self._codec.document(first, self._now())
        except SessionUnreadable:
            return None

    async def _change(self, session: Session, intent: Change, request: object) -> CookieAction:
        record, renewal = session.record, intent.renewal
        assert record is not None  # noqa: S101 - otherwise the intent would be Create
        base: Standing | None = Standing(record, session.document)
        for _ in range(MAX_TRIES):
            if base is None:
                break
            action, result = await self._commit_to(base, session, intent.changes, renewal, request)
            if isinstance(result, Committed):
                session.rebase_on(*result)
                if renewal is not None:
                    self._emit(Renewed(result.record.handle, result.record.user_id))
                return action
            # Another request has ended the session or given it another id. The changes are applied
            # under the new id, unless it belongs to another user. A plain renewal is not repeated.
            successor = await self.successor_of(record)
            base = None if successor is None else Standing(successor)
            renewal = renewal if renewal is not None and renewal.restart else None
        if intent.logs_in and await self.living_by_handle(record.handle) is not None:
            # Another login was first and has taken the session, so this one begins a new session.
            # If the session has ended, it stays so: a logout is final for concurrent logins, too.
            document = await self._base_of_a_repeated_login(session, record.handle)
            return await self._create(
                session, Create(intent.changes, logs_in=True), request, document or empty_document()
            )
        session.end()
        self._emit(CommitDropped(record.handle))
        return KEEP

    async def _commit_to(
        self,
        base: Standing,
        session: Session,
        changes: Update,
        renewal: Renewal | None,
        request: object,
    ) -> tuple[CookieAction, Committed | Gone]:
        action: CookieAction = KEEP
        for _ in range(MAX_TRIES):
            commit = Commit(base, changes)
            if renewal is not None:
                action = Issue(self.draw_id(session, request, base.record))
                commit = Commit(base, changes, key_of(action.session_id), renewal)
            result = await self._committer.commit(commit)
            session.next_id = session.next_id if renewal is None else None
            if not isinstance(result, Conflict):
                return action, result
        raise StoreError(f"genid returned {MAX_TRIES} ids in a row that are taken")

    async def successor_of(self, record: SessionRecord) -> SessionRecord | None:
        """Return the session of *record* under its present id, unless its user has changed."""
        found = await self.living_by_handle(record.handle)
        return found if found is not None and found.user_id == record.user_id else None

    async def living_by_handle(self, handle: str) -> SessionRecord | None:
        """Return the record of the valid session with this handle, or None."""
        now = self._now()
        found = await self._endings.find_by_handle([handle])
        return next((one for one in found if self._codec.lifetimes.is_living(one, now)), None)

    async def _touch_quietly(self, session: Session) -> None:
        record = session.record
        assert record is not None  # noqa: S101 - otherwise the intent would not be Touch
        touched = self._codec.touched(record, session.lifetime)
        try:
            if touched.version == record.version:
                await self._shared.touch(touched)
            elif not isinstance(await self._shared.swap(Swap(record, touched)), Saved):
                return  # a parallel request has saved or ended the session
        except StoreError as error:
            self._emit(TouchFailed(record.handle, str(error)))
        else:
            session.record = touched

    async def _end(self, session: Session) -> CookieAction:
        """End the session, also if its id has changed, and all that the request presented."""
        records = [] if session.record is None else [session.record]
        others = await asyncio.gather(*map(self._shared.load, session.presented))
        records += [record for record in others if record is not None]
        reason = EndedReason.LOGGED_OUT
        if records and await self._endings.end(records, reason) < len(records):
            await self._endings.end_by_handle([one.handle for one in records], reason)
        tombstone = session.tombstone
        if records:
            return Clear()
        if tombstone is not None and tombstone.goes_on:
            await self._endings.end_by_handle([tombstone.handle], reason)
            return Clear()
        return KEEP  # the browser may have received a new cookie from a login since
