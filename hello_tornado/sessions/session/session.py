"""The session as handlers use it: a dict that records its changes.

Everything here is synchronous and local. `intent()` says what the store must do about the changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, TypeVar, cast

from hello_tornado.sessions.errors import NoResponse, ResponseStarted, SessionEnded, SessionError
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
    "started",  # the headers were sent, so no cookie can be set
    "complete",  # the session was stored, so further changes would be lost
    "none",  # the session is used outside a request, in a transaction
]
"""The state of the response to the request that uses the session."""


class Session(MetaDict):
    """A visitor's data as a dict that is kept in the store between requests.

    - Keys are str. Setting a value that cannot be stored raises `SerializationError`.
    - Nested changes (`session["cart"]["apple"] = 1`) are found when the request ends. Assigning an
      equal value changes nothing.
    - If parallel requests change the same session, changes of different keys merge, also nested
      ones. Increments, appends and changes of sets add up. If two requests assign to the same key,
      the later one wins.
    - Writing raises `SessionEnded` after the session has ended, `ReadOnly` if this page may not
      write, and `ResponseStarted` if it is too late to store the change or to send the cookie.
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
        # The tombstone of the session that the request asked for, if it ended just now.
        self.tombstone: Tombstone | None = None
        self.record, self.document = record, document  # the last known stored state
        self.ended = False
        self.generation = 0  # grows with each login, logout and reset()
        self.ended_reason: EndedReason | None = None  # why the session of the browser's id ended
        self.keeps_alive = True  # reading it counts as use
        self.next_id: SessionId | None = None  # the id it gets at commit, if it needs a new one
        self.presented: tuple[SessionKey, ...] = ()  # other sessions whose ids the request sent
        self.refusal: SessionError | None = None  # the error that every write raises
        self.response: Response = "not started"

    def intent(self, rules: CommitRules, now: int, *, only_end: bool = False) -> Intent:
        """Return what the store must do about this session at the moment *now*.

        With *only_end* all changes are ignored except that the session ends, because the request
        has failed. Raises `refusal` if it is set and the session was changed.
        """
        draft = self._draft
        if draft.ends:
            return End(draft.ends_everywhere)
        if self.ended or only_end:
            return NOTHING
        changes, record = self.changes(), self.record
        if self.refusal is not None and (changes.operations or draft.renewal):
            raise self.refusal.with_traceback(None)  # a nested value was changed
        if record is None:
            return self._intent_of_a_new_one(rules, changes)
        if changes.operations or draft.renewal or (rules.resave and self.keeps_alive):
            return Change(changes, draft.renewal, draft.logs_in)
        if draft.is_touched:
            return Touch()
        is_due = self.keeps_alive and now - record.accessed_at >= self._touch_after(rules)
        return Touch() if is_due else NOTHING

    def _touch_after(self, rules: CommitRules) -> int:
        """Return how long after its last use a session that is only read is touched, in µs."""
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
        """Return the changes so far, to be stored, and start a new draft.

        Pass the *intent* if it is known, because it already has the changes.
        """
        taken, self._draft = self._draft, Draft()
        changes = intent.changes if isinstance(intent, Storing) else self._changes_of(taken)
        taken.earlier, taken.state, taken.user_id = changes, NO_CHANGES, None
        self._record_anew(changes.operations.get("data"))
        for view in self._views.values():
            view.settle()
        return taken

    def give_back(self, taken: Draft) -> None:
        """Put back changes that could not be stored, before those that were made since."""
        since = self.take_draft()
        taken.earlier = taken.earlier.merged_with(since.earlier)
        taken.renewal = taken.renewal if since.renewal is None else since.renewal | taken.renewal
        taken.logs_in |= since.logs_in
        taken.is_touched |= since.is_touched
        taken.ends |= since.ends
        taken.ends_everywhere = since.ends_everywhere or taken.ends_everywhere
        self._draft = taken

    def rebase_on(self, record: SessionRecord, document: Document) -> None:
        """Show the stored state, with the changes made since the draft was taken on top of it."""
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
        """Note that the session has ended in the store; it is empty and refuses writes now."""
        self._empty()
        before, self._draft = self._draft, Draft()  # a logout must still be stored
        self._draft.ends, self._draft.ends_everywhere = before.ends, before.ends_everywhere
        self.ended, self.ended_reason = True, reason

    @contextmanager
    def _updating(self) -> Iterator[None]:
        """Undo all changes made in this block to an unsaved session if the block raises."""
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
            raise NoResponse("log in, renew and reset outside update_session()")

    def become(self, other: "Session") -> None:
        """Take over the state of *other*, the same session read again; discard all changes."""
        if self.ended:  # by this request, while it was read
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
        # These flashes belong to the session before.
        self._flashes_shown, self._flashes_kept = {}, frozenset()
        self._views.clear()
        self._rebase_data({})
        self._meta, self._user_id = {}, None

    def __bool__(self) -> bool:
        """Whether a user is logged in or there is any data."""
        return self._user_id is not None or bool(self._data)

    def __repr__(self) -> str:
        return f"<Session handle={self.handle!r} user_id={self.user_id!r} keys={list(self)!r}>"

    def login(self, user_id: str, *, remember: bool | None = None) -> None:
        """Log a user in. The session gets a new id, and its absolute timeout starts again.

        The data of an anonymous session is kept; that of another user is removed.

        Args:
            user_id: The user, as 1 to 255 characters.
            remember: True: the session ends after `Lifetimes.remembered`, even if it is in use; the
                browser keeps the cookie until then. False: usual lifetimes; the cookie ends with
                the browser. None (the default): both stay as they are, at first as configured.

        Raises:
            TypeError: `user_id` is not a str, or `remember` is not True, False or None.
            ValueError: No store can store this `user_id`.
            ResponseStarted: The headers were sent already.
            NoResponse: There is no request.

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
        """Give the session a new id at commit, against fixation; the old id becomes invalid then.

        Raises `ResponseStarted` after the headers were sent, and `NoResponse` outside a request.
        """
        self._check_writable()
        self._check_cookie_can_leave()
        self._draft.renewal = Renewal() | self._draft.renewal
        self._forget_xsrf_token()

    def reset(self) -> None:
        """Replace this session with a new, empty one that has a new id and a new handle.

        Raises `ResponseStarted` after the headers were sent, and `NoResponse` outside a request.
        """
        self._check_writable()
        self._check_cookie_can_leave()
        self._empty()
        self._draft = Draft()
        self._draft.earlier = Update({name: Set(to) for name, to in empty_document().items()})
        self._draft.renewal = Renewal(restart=True, new_handle=True)

    def destroy(self) -> None:
        """End this session, as a logout does. It is empty now, and writing raises `SessionEnded`.

        The store deletes it whatever else the request does, even if the request fails. Raises
        `ResponseStarted` after the response is complete.
        """
        self._check_not_refused()
        self.end(EndedReason.LOGGED_OUT)
        self._draft.ends = True

    def logout(self, *, everywhere: bool = False) -> None:
        """End this session as `destroy()` does; with *everywhere*, also the user's other sessions.

        The others end in every process, with `EndedReason.REVOKED`. The default is False.
        """
        user_id = self._user_id or (None if self.record is None else self.record.user_id)
        self.destroy()
        if everywhere:
            self._draft.ends_everywhere = user_id

    def touch(self) -> None:
        """Count this request as use of the session, even before `touch_interval` has passed."""
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
                "the response is complete, or the transaction is over, and the session was stored: "
                "to change or end it now, use session_manager.transaction(handle) or revoke(handle)"
            )

    def _check_cookie_can_leave(self) -> None:
        if self.response == "none":
            raise NoResponse(
                "outside a request, no cookie can send a new id to the browser: log in, renew "
                "and reset in a handler; here, destroy() ends the session"
            )
        if self.response != "not started":
            raise ResponseStarted(
                "the headers of this response were sent, so its cookie can no longer be set: "
                "begin, renew or log in to a session before the first flush()"
            )

    def typed(self, model: type[M], *, key: str | None = None) -> M:
        """Return the session as an object of a class. Changes of the object are stored.

        Fields that the session lacks have their defaults; these are stored only after a change. If
        the class has a `session_version` above 1, older data is passed to its class method
        `upgrade_session(data, version)`, which returns the data in the present form.

        Args:
            model: A dataclass, a msgspec struct or a pydantic model. Its fields are the keys.
            key: Use the dict under this key instead of the whole session (None).

        Raises:
            SerializationError: The data does not fit the class.
            TypeError: The value under `key` is not a dict, or `model` is not such a class.
            RuntimeError: Raised later in the request, if a key of the object is assigned,
                incremented or appended to other than through the object.

        """
        view = self._views.get((model, key))
        if view is None:
            self._record_nested()
            view = self._views[model, key] = View(model, self._data, self._versions, key)
        return cast("M", view.object)

    @property
    def is_new(self) -> bool:
        """Whether the session is not in the store yet."""
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
        """How the id changes at the next commit; None if it stays."""
        return self._draft.renewal

    @property
    def user_id(self) -> str | None:
        """The id of the user who is logged in, as given to `login()`, or None."""
        return self._user_id

    @property
    def handle(self) -> str | None:
        """The public name of the session, unchanged by a renewal; None before it is stored."""
        return None if self.record is None else self.record.handle

    @property
    def created_at(self) -> datetime:
        """When the session began or its user logged in; the absolute timeout counts from then."""
        return datetime_of(self.record.created_at if self.record else self._opened_at)

    @property
    def logged_in_at(self) -> datetime | None:
        """When the user logged in; None if no user is logged in."""
        if self._user_id is None:
            return None
        return datetime_of(self._opened_at) if self._draft.logs_in else self.created_at

    def is_fresh(self, within: timedelta | float) -> bool:
        """Return whether the user logged in less than *within* (timedelta or seconds) ago.

        For pages that ask for the password again, such as one that signs out other devices. Counts
        from the beginning of this request. Returns False if no user is logged in.
        """
        at = self.logged_in_at
        return at is not None and datetime_of(self._opened_at) - at < as_timedelta(within)

    @property
    def accessed_at(self) -> datetime:
        """When the session was last used, as last stored; the idle timeout counts from then."""
        return datetime_of(self.record.accessed_at if self.record else self._opened_at)

    @property
    def expires_at(self) -> datetime:
        """When the session expires unless it is used again.

        Set it to an aware datetime in the future to make the session end then, even if it is in
        use; the absolute timeout may end it earlier. Set it to None to return to the usual
        lifetimes. Raises `ValueError` for any other value.
        """
        return datetime_of(self.expiry)

    @expires_at.setter
    def expires_at(self, value: datetime | None) -> None:
        self._end_at(value)

    @property
    def expires_in(self) -> timedelta:
        """The time until `expires_at`, counted from when this request opened the session."""
        return (self.expiry - self._opened_at) * MICROSECOND

    @property
    def expiry(self) -> int:
        """`expires_at` in microseconds since 1970."""
        record, now = self.record, self._opened_at
        if record is None:
            return self._lifetimes.expires_at(now, now, self.lifetime)
        renewal = self._draft.renewal
        if not self.is_lifetime_changed and not (renewal and renewal.restart):
            return record.expires_at
        created_at = now if renewal and renewal.restart else record.created_at
        return self._lifetimes.expires_at(created_at, now, self.lifetime)

    def changes(self) -> Update:
        """Return the changes that this request has made to the document, nested ones included."""
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
        f"session[{key!r}] is part of the {view.name} that typed() returned in this request: "
        "change that object, or do not call typed()"
    )
