"""The session a handler sees: a dict that records what was done to it.

Everything here is synchronous and local. The manager acts on `changes()`, `renewal`, `ended` and
`touched` when the request is committed.
"""

from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias, TypeVar, cast

from hello_tornado.sessions.changes import NO_CHANGES, Operation, Set, Update
from hello_tornado.sessions.document import Document, empty_document, max_age_of
from hello_tornado.sessions.errors import ResponseStarted, SessionEnded, SessionError
from hello_tornado.sessions.lifetimes import MICROSECOND, Lifetimes, datetime_of
from hello_tornado.sessions.meta import MetaDict
from hello_tornado.sessions.record import SessionRecord
from hello_tornado.sessions.renewal import Renewal
from hello_tornado.sessions.serializers import Serializer
from hello_tornado.sessions.typed import View
from hello_tornado.sessions.values import check_user_id

M = TypeVar("M")

EndedReason: TypeAlias = Literal["expired", "logged out", "revoked"]


class Session(MetaDict):
    """A dict of one visitor's values, kept in the store from request to request.

    Keys are str. A value that cannot be stored is refused where it is set. Nested changes
    (`session["cart"]["apple"] = 1`) are found when the request ends; assigning an equal value
    changes nothing. In parallel requests of one session, changes of different keys merge, also
    nested ones; increments and appends add up; of two assignments to one key the later wins.
    """

    __slots__ = (
        "_lifetimes",
        "_reset",
        "_user_id",
        "_views",
        "ended",
        "ended_reason",
        "keeps_alive",
        "logs_in",
        "record",
        "refusal",
        "renewal",
        "response_started",
        "touched",
    )

    def __init__(
        self,
        record: SessionRecord | None,
        document: Document,
        *,
        opened_at: int,
        lifetimes: Lifetimes,
        serializer: Serializer,
    ) -> None:
        super().__init__(document["data"], document["meta"], serializer, opened_at)
        self._lifetimes = lifetimes
        self._views: dict[type, View[Any]] = {}
        self.ended = False
        self.ended_reason: EndedReason | None = None  # of the one that the browser still asks for
        self.keeps_alive = True  # to be read counts as use
        self.refusal: SessionError | None = None  # of every write from now on
        self.response_started = False
        self._stand_on(record, document["user_id"])

    def _stand_on(self, record: SessionRecord | None, user_id: str | None) -> None:
        self.record = record
        self._user_id = user_id
        self._reset = NO_CHANGES
        self.renewal: Renewal | None = None
        self.touched = False
        self.logs_in = False

    def settle(self, record: SessionRecord | None, document: Document) -> None:
        """Stand on *document* as it is now stored in *record*: nothing is changed any more."""
        self._stand_on_data(document["data"])
        self._stand_on_meta(document["meta"])
        self._stand_on(record, document["user_id"])
        for view in self._views.values():
            view.settle()

    def settle_ended(self) -> None:
        """Stand on nothing: the session is over, here or in the store."""
        self._settle_empty()
        self.ended = True

    def _settle_empty(self) -> None:
        self._views.clear()
        self.settle(self.record, empty_document())

    def __repr__(self) -> str:
        return f"<Session handle={self.handle!r} user_id={self.user_id!r} keys={list(self)!r}>"

    def login(self, user_id: str) -> None:
        """This session is now *user_id*'s: it gets a new id, and its absolute timeout starts anew.

        Data gathered while anonymous is kept; another user's data is not.
        """
        self._check_writable()
        self._check_cookie_can_leave()
        check_user_id(user_id)
        if self._user_id not in {None, user_id}:
            self.regenerate()
        self._user_id = user_id
        self.logs_in = True
        self.renewal = Renewal(restart=True) | self.renewal

    def renew(self) -> None:
        """A new id for the same session, against fixation; the old id dies in the same moment."""
        self._check_writable()
        self._check_cookie_can_leave()
        self.renewal = Renewal() | self.renewal

    def regenerate(self) -> None:
        """A new, empty session in the place of this one, under a new id and a new handle."""
        self._check_writable()
        self._check_cookie_can_leave()
        self._settle_empty()
        self._reset = Update({name: Set(value) for name, value in empty_document().items()})
        self.renewal = Renewal(restart=True, new_handle=True)

    def destroy(self) -> None:
        """End this session, for good: logout. It reads as empty now and takes no more writes."""
        self._check_not_refused()
        self.settle_ended()
        self.ended_reason = "logged out"

    def touch(self) -> None:
        """Count this request as use of the session, though `touch_interval` is not over yet."""
        self.touched = True

    def _check_writable(self) -> None:
        if self.ended:
            raise SessionEnded(
                "this session has ended; to begin another one in the request that ends it, "
                "call regenerate() instead of destroy()"
            )
        self._check_not_refused()
        if self.record is None:
            self._check_cookie_can_leave()

    def _check_not_refused(self) -> None:
        if self.refusal is not None:
            raise self.refusal.with_traceback(None)

    def _check_cookie_can_leave(self) -> None:
        if self.response_started:
            raise ResponseStarted(
                "the headers of this response have left, and a cookie can no longer follow them: "
                "begin, renew or log in to a session before the first flush()"
            )

    def typed(self, model: type[M]) -> M:
        """The session as an object of *model*, whose fields are its keys; changes of it are stored.

        *model* is a dataclass, a msgspec struct or a pydantic model; what the session lacks has the
        field's default, which is not stored before something is changed. When `session_version`
        of the class is above 1, older data passes through its class method
        `upgrade_session(data, version)`. Use either the object or the keys in one request.
        """
        if model not in self._views:
            version = self._versions.get(model.__name__, 1)
            self._views[model] = View(model, self._data, version)
        return cast("M", self._views[model].object)

    @property
    def is_new(self) -> bool:
        """Whether the store knows nothing of this session yet."""
        return self.record is None

    @property
    def modified(self) -> bool:
        """Whether this request has changed anything that a commit would store."""
        return self.has_changes or self.renewal is not None or self.ended

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
    def accessed_at(self) -> datetime:
        """When it was last used, as of the last touch or save; the idle timeout counts from it."""
        return datetime_of(self.record.accessed_at if self.record else self._opened_at)

    @property
    def expires_at(self) -> datetime:
        """When it ends unless it is used again before."""
        return datetime_of(self._expires_at)

    @property
    def expires_in(self) -> timedelta:
        """How long it still lives, counted from when this request opened it."""
        return (self._expires_at - self._opened_at) * MICROSECOND

    @property
    def _expires_at(self) -> int:
        if self.record is None:
            return self._lifetimes.expires_at(
                self._opened_at, self._opened_at, max_age_of(self._meta)
            )
        return self.record.expires_at

    @property
    def has_changes(self) -> bool:
        """Whether `changes()` says anything."""
        return bool(self._operations) or bool(self.changes())

    def changes(self) -> Update:
        """What this request has done to the document so far, nested changes included."""
        if self._is_untouched:
            return NO_CHANGES
        data, meta = Update(self.operations()), self._meta_operations
        for view in self._views.values():
            data, meta = data.merged_with(view.changes()), meta.merged_with(view.stamp())
        document: dict[str, Operation] = {}
        if data:
            document["data"] = data
        if meta:
            document["meta"] = meta
        if self._user_id != (self.record.user_id if self.record and not self._reset else None):
            document["user_id"] = Set(self._user_id)
        changes = Update(document)
        return changes if self._reset is NO_CHANGES else self._reset.merged_with(changes)

    @property
    def _is_untouched(self) -> bool:
        """Whether nobody has written anything, or got hold of anything that could be changed."""
        return not (
            self._operations
            or self._handed_out
            or self._views
            or self.logs_in
            or self._meta_operations is not NO_CHANGES
            or self._reset is not NO_CHANGES
        )
