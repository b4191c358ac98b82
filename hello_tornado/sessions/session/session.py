"""The session a handler sees: a dict that records what was done to it.

Everything here is synchronous and local. `intent()` says what the store must do about it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, TypeVar, cast

from hello_tornado.sessions.errors import (
    NoResponse,
    ResponseStarted,
    SessionEnded,
    SessionError,
)
from hello_tornado.sessions.events import EndedReason
from hello_tornado.sessions.records.ids import SessionId, SessionKey
from hello_tornado.sessions.records.lifetimes import (
    AS_USUAL,
    MICROSECOND,
    Lifetimes,
    as_timedelta,
    datetime_of,
)
from hello_tornado.sessions.records.record import SessionRecord
from hello_tornado.sessions.records.serializers import Serializer
from hello_tornado.sessions.records.tombstones import Tombstone
from hello_tornado.sessions.records.values import check_remember, check_user_id
from hello_tornado.sessions.session.document import Document, empty_document, is_empty, lifetime_of
from hello_tornado.sessions.session.draft import (
    NOTHING,
    CommitRules,
    Create,
    Draft,
    Drop,
    End,
    Intent,
    Renewal,
    Storing,
    Touch,
)
from hello_tornado.sessions.session.draft import Update as Change
from hello_tornado.sessions.session.operations import NO_CHANGES, Operation, Set, Update
from hello_tornado.sessions.session.state import MetaDict
from hello_tornado.sessions.session.typed import View

M = TypeVar("M")


Response: TypeAlias = Literal[
    "not started",
    "started",  # the headers have left, and no cookie can follow them
    "complete",  # what is written now would be stored by nobody
    "none",  # the session is used outside of a request, in a transaction
]
"""How far the response has come in which a session is used."""


class Session(MetaDict):
    """A dict of one visitor's values, kept in the store from request to request.

    Keys are str. A value that cannot be stored is refused where it is set. Nested changes
    (`session["cart"]["apple"] = 1`) are found when the request ends; assigning an equal value
    changes nothing. In parallel requests of one session, changes of different keys merge, also
    nested ones; increments, appends and changes of sets add up; of two assignments to one key the
    later wins.
    """

    __slots__ = (
        "_lifetimes",
        "_user_id",
        "_views",
        "document",
        "ended",
        "ended_reason",
        "generation",
        "keeps_alive",
        "next_id",
        "presented",
        "record",
        "refusal",
        "response",
        "tombstone",
    )

    def __init__(
        self,
        record: SessionRecord | None,
        document: Document,
        opened_at: int,
        lifetimes: Lifetimes,
        serializer: Serializer,
    ) -> None:
        super().__init__(document["data"], document["meta"], serializer, opened_at)
        self._lifetimes = lifetimes
        self._user_id: str | None = document["user_id"]
        self._views: dict[tuple[type, str | None], View[Any]] = {}
        # Of the session that the request asked for, if it ended just now.
        self.tombstone: Tombstone | None = None
        self.record, self.document = record, document  # what is stored, as far as is known here
        self.ended = False
        self.generation = 0  # grows with each login, logout and reset()
        self.ended_reason: EndedReason | None = None  # of the one that the browser still asks for
        self.keeps_alive = True  # to be read counts as use
        self.next_id: SessionId | None = None  # what it gets if it gets an id, drawn beforehand
        self.presented: tuple[SessionKey, ...] = ()  # other sessions whose ids the request carries
        self.refusal: SessionError | None = None  # of every write from now on
        self.response: Response = "not started"

    def intent(self, rules: CommitRules, now: int, *, only_end: bool = False) -> Intent:
        """What the store must do about this session; raises when it may not be changed here.

        With *only_end* all changes are forgotten but the end: the request has failed.
        """
        draft = self._draft
        if draft.ends:
            return End(draft.ends_everywhere)
        if self.ended or only_end:
            return NOTHING
        changes, record = self.changes(), self.record
        if self.refusal is not None and (changes.operations or draft.renewal):
            raise self.refusal.with_traceback(None)  # something was changed inside of a value
        if record is None:
            return self._intent_of_a_new_one(rules, changes)
        if changes.operations or draft.renewal or (rules.resave and self.keeps_alive):
            return Change(changes, draft.renewal, draft.logs_in)
        if draft.is_touched:
            return Touch()
        is_due = self.keeps_alive and now - record.accessed_at >= self._touch_after(rules)
        return Touch() if is_due else NOTHING

    def _touch_after(self, rules: CommitRules) -> int:
        """How long after its last use a page that only reads it counts as use; microseconds."""
        own = lifetime_of(self._meta)
        if own is AS_USUAL:
            return rules.touch_after
        return self._lifetimes.touch_after(rules.touch_interval, own)

    def _intent_of_a_new_one(self, rules: CommitRules, changes: Update) -> Intent:
        if self._draft.logs_in:
            return Create(changes, logs_in=True)
        holds_something = bool(changes) and not is_empty(changes.apply(empty_document()))
        if self.tombstone is not None:
            return Drop(self.tombstone.handle) if holds_something else NOTHING
        return Create(changes) if holds_something or rules.save_uninitialized else NOTHING

    def take_draft(self, intent: Intent = NOTHING) -> Draft:
        """What was done so far, to be stored; whatever is done from now on is a new draft.

        If the *intent* is known it has the changes already.
        """
        taken, self._draft = self._draft, Draft()
        changes = intent.changes if isinstance(intent, Storing) else self._changes_of(taken)
        taken.earlier, taken.state, taken.user_id = changes, NO_CHANGES, None
        self._record_anew(changes.operations.get("data"))
        for view in self._views.values():
            view.settle()
        return taken

    def give_back(self, taken: Draft) -> None:
        """Put back what could not be stored, in front of what was done since."""
        since = self.take_draft()
        taken.earlier = taken.earlier.merged_with(since.earlier)
        taken.renewal = taken.renewal if since.renewal is None else since.renewal | taken.renewal
        taken.logs_in |= since.logs_in
        taken.is_touched |= since.is_touched
        taken.ends |= since.ends
        taken.ends_everywhere = since.ends_everywhere or taken.ends_everywhere
        self._draft = taken

    def rebase_on(self, record: SessionRecord, document: Document) -> None:
        """Show what is stored now, and the changes made since the draft was taken on top of it."""
        self.record, self.document = record, document
        if self.ended:
            return
        changes = self.changes()
        if changes.operations:
            self._draft.earlier, self._draft.state = changes, NO_CHANGES
            self._draft.user_id = None
            document = changes.apply(document)
        self._rebase_data(document["data"])
        self._meta, self._user_id = document["meta"], document["user_id"]
        for view in self._views.values():
            view.settle()

    def end(self, reason: EndedReason | None = None) -> None:
        """Note that the session is over in the store: it is empty and refuses writes."""
        self._empty()
        before, self._draft = self._draft, Draft()  # a logout stays to be done
        self._draft.ends, self._draft.ends_everywhere = before.ends, before.ends_everywhere
        self.ended, self.ended_reason = True, reason

    @contextmanager
    def _updating(self) -> Iterator[None]:
        """Keep all changes made in this block to a session that is not stored yet, or none."""
        views, self._views = self._views, {}
        try:
            yield
            self._check_keeps_id()
        except BaseException:
            if not self.ended:
                self._draft = Draft()
                self._rebase_data(self.document["data"])
                self._meta, self._user_id = self.document["meta"], self.document["user_id"]
            raise
        finally:
            self._views = views

    def _check_keeps_id(self) -> None:
        if self._draft.renewal is not None:
            raise NoResponse("log in, renew and reset outside of update_session()")

    def become(self, other: "Session") -> None:
        """Be what *other* is, the same session as read later; nothing is changed any more."""
        if self.ended:  # meanwhile, by this request
            return
        if other.ended or (other.record is None and self.record is not None):
            self.end(other.ended_reason)
            return
        self._draft, self.record, self.document = Draft(), other.record, other.document
        self._views.clear()
        self._rebase_data(other._data)
        self._meta, self._user_id = other._meta, other._user_id

    @property
    def _is_refused(self) -> bool:
        return self.refusal is not None

    def _empty(self) -> None:
        self.generation += 1
        # They were another session's.
        self._flashes_shown, self._flashes_kept = {}, frozenset()
        self._views.clear()
        self._rebase_data({})
        self._meta, self._user_id = {}, None

    def __bool__(self) -> bool:
        """Whether it is somebody's, or holds something."""
        return self._user_id is not None or bool(self._data)

    def __repr__(self) -> str:
        return f"<Session handle={self.handle!r} user_id={self.user_id!r} keys={list(self)!r}>"

    def login(self, user_id: str, *, remember: bool | None = None) -> None:
        """This session is now *user_id*'s: it gets a new id, and its absolute timeout starts anew.

        Data gathered while anonymous is kept; another user's data is not. With *remember* True the
        session ends when the `remembered` of the manager's `Lifetimes` has passed, used or not, and
        the browser keeps the cookie until then. With False it has the usual lifetimes, and the
        cookie ends with the browser. With None both are as they were, at first as configured.
        """
        self._check_writable()
        self._check_cookie_can_leave()
        check_user_id(user_id)
        check_remember(remember)
        if self._user_id not in {None, user_id}:
            self.reset()
        if remember is not None:
            self._remember(remember)
        self._user_id = user_id
        self.generation += 1
        self._draft.user_id = Set(user_id)
        self._draft.logs_in = True
        self._draft.renewal = Renewal(restart=True) | self._draft.renewal
        self._forget_xsrf_token()

    def renew(self) -> None:
        """A new id for the same session, against fixation; the old id dies in the same moment."""
        self._check_writable()
        self._check_cookie_can_leave()
        self._draft.renewal = Renewal() | self._draft.renewal
        self._forget_xsrf_token()

    def reset(self) -> None:
        """A new, empty session in the place of this one, under a new id and a new handle."""
        self._check_writable()
        self._check_cookie_can_leave()
        self._empty()
        self._draft = Draft()
        self._draft.earlier = Update({name: Set(to) for name, to in empty_document().items()})
        self._draft.renewal = Renewal(restart=True, new_handle=True)

    def destroy(self) -> None:
        """End this session, for good: logout. It reads as empty now and takes no more writes.

        It is deleted from the store whatever else the request has done or does afterwards, also
        when the request fails. `ResponseStarted` after the end of the response.
        """
        self._check_not_refused()
        self.end(EndedReason.LOGGED_OUT)
        self._draft.ends = True

    def logout(self, *, everywhere: bool = False) -> None:
        """End this session, as `destroy()` does; with *everywhere* all others of its user, too.

        The others end as `EndedReason.REVOKED`, in every process.
        """
        user_id = self._user_id or (None if self.record is None else self.record.user_id)
        self.destroy()
        if everywhere:
            self._draft.ends_everywhere = user_id

    def touch(self) -> None:
        """Count this request as use of the session, though `touch_interval` is not over yet."""
        self._check_not_refused()
        self._draft.is_touched = True

    def _check_writable(self, key: str | None = None) -> None:
        if self.ended:
            raise SessionEnded(
                "this session has ended; to begin another one in the request that ends it, "
                "call reset() instead of destroy()"
            )
        self._check_not_refused()
        if self.record is None:
            self._check_cookie_can_leave()
        if key is not None and self._views:
            self._check_key_is_free(key)

    def _check_key_is_free(self, key: str) -> None:
        for view in self._views.values():
            if view.covers(key):
                raise _written_twice(key, view)

    def _check_not_refused(self) -> None:
        if self.refusal is not None:
            raise self.refusal.with_traceback(None)
        if self.response == "complete":
            raise ResponseStarted(
                "the response is complete, or the transaction over, and the session was stored: to "
                "change or end it afterwards, use session_manager.transaction(handle), or "
                "revoke(handle)"
            )

    def _check_cookie_can_leave(self) -> None:
        if self.response == "none":
            raise NoResponse(
                "outside of a request no cookie can carry a new id to the browser: log in, renew "
                "and reset in a handler; here, destroy() ends the session"
            )
        if self.response != "not started":
            raise ResponseStarted(
                "the headers of this response have left, and a cookie can no longer follow them: "
                "begin, renew or log in to a session before the first flush()"
            )

    def typed(self, model: type[M], *, key: str | None = None) -> M:
        """The session as an object of *model*, whose fields are its keys; changes of it are stored.

        With *key* it is that key's dict, beside others. *model* is a dataclass, a msgspec struct or
        a pydantic model; what the session lacks has the field's default, which is not stored before
        something is changed. When `session_version` of the class is above 1, older data passes
        through its class method `upgrade_session(data, version)`.

        Afterwards in this request the object's keys are changed by the object only: to assign them,
        count in them or append to them is a `RuntimeError`. `TypeError` when *key* holds anything
        but a dict.
        """
        view = self._views.get((model, key))
        if view is None:
            self._record_nested()
            view = self._views[model, key] = View(model, self._data, self._versions, key)
        return cast("M", view.object)

    @property
    def is_new(self) -> bool:
        """Whether the store knows nothing of this session yet."""
        return self.record is None

    @property
    def modified(self) -> bool:
        """Whether this request has changed anything that a commit would store."""
        return bool(self.changes()) or self._draft.renewal is not None or self._draft.ends

    @property
    def logs_in(self) -> bool:
        """Whether the next commit is a login."""
        return self._draft.logs_in

    @property
    def renewal(self) -> Renewal | None:
        """What kind of new id this session gets with the next commit."""
        return self._draft.renewal

    @property
    def user_id(self) -> str | None:
        """Whose session this is, as given to `login()`."""
        return self._user_id

    @property
    def handle(self) -> str | None:
        """Its public name: no secret, and the same after a renewal. None before it is stored."""
        return None if self.record is None else self.record.handle

    @property
    def created_at(self) -> datetime:
        """When it began, or was logged in to; the absolute timeout counts from here."""
        return datetime_of(self.record.created_at if self.record else self._opened_at)

    @property
    def logged_in_at(self) -> datetime | None:
        """When its user logged in; None while it is nobody's."""
        if self._user_id is None:
            return None
        return datetime_of(self._opened_at) if self._draft.logs_in else self.created_at

    def is_fresh(self, within: timedelta | float) -> bool:
        """Whether its user logged in less than *within* before this request opened the session.

        *within* is a timedelta or a number of seconds. False while the session is nobody's. For
        pages that ask for the password again, such as one that signs out other devices.
        """
        at = self.logged_in_at
        return at is not None and datetime_of(self._opened_at) - at < as_timedelta(within)

    @property
    def accessed_at(self) -> datetime:
        """When it was last used, as of the last touch or save; the idle timeout counts from it."""
        return datetime_of(self.record.accessed_at if self.record else self._opened_at)

    @property
    def expires_at(self) -> datetime:
        """When it ends unless it is used again before.

        Settable: the session ends at an aware datetime in the future, used or not, or earlier by
        its absolute timeout. None: as usual again.
        """
        return datetime_of(self.expiry)

    @expires_at.setter
    def expires_at(self, value: datetime | None) -> None:
        self._end_at(value)

    @property
    def expires_in(self) -> timedelta:
        """How long it still lives, counted from when this request opened it."""
        return (self.expiry - self._opened_at) * MICROSECOND

    @property
    def expiry(self) -> int:
        """`expires_at`, as a moment."""
        record, now = self.record, self._opened_at
        if record is None:
            return self._lifetimes.expires_at(now, now, self.lifetime)
        renewal = self._draft.renewal
        if not self.is_lifetime_changed and not (renewal and renewal.restart):
            return record.expires_at
        created_at = now if renewal and renewal.restart else record.created_at
        return self._lifetimes.expires_at(created_at, now, self.lifetime)

    def changes(self) -> Update:
        """What this request has done to the document so far, nested changes included."""
        return self._changes_of(self._draft)

    def _changes_of(self, draft: Draft) -> Update:
        if not (self._operations or self._handed_out or self._views or draft.has_changes):
            return NO_CHANGES
        data, state = Update(self.operations()), draft.state
        for view in self._views.values():
            changes = view.changes()
            for key in filter(self._is_changed_inside, changes.operations):
                raise _written_twice(key, view)
            data, state = data.merged_with(changes), state.merged_with(view.stamp())
        document: dict[str, Operation] = {}
        if data.operations:
            document["data"] = data
        if state.operations:
            document["meta"] = state
        if draft.user_id is not None:
            document["user_id"] = draft.user_id
        recorded = Update(document)
        return recorded if draft.earlier is NO_CHANGES else draft.earlier.merged_with(recorded)


def _written_twice(key: str, view: View[Any]) -> RuntimeError:
    return RuntimeError(
        f"session[{key!r}] is part of the {view.name} that typed() has given out in this request: "
        "change that object, or do not ask for it"
    )
