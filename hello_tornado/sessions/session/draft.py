"""The unsaved changes of a request, and the intents: what the store must do about them.

`Session.intent()` is the only place that decides. The handler asks it whether the response must
wait for the store, and the manager asks it what to store.
"""

from typing import NamedTuple, TypeAlias

from hello_tornado.sessions.records.immutable import immutable
from hello_tornado.sessions.session.operations import NO_CHANGES, Set
from hello_tornado.sessions.session.operations import Update as Changes


@immutable
class Renewal:
    """Give the session a new id at commit.

    - `restart`: also restart the absolute timeout.
    - `new_handle`: also give it a new handle.
    """

    restart: bool = False
    new_handle: bool = False

    def __or__(self, other: "Renewal | None") -> "Renewal":
        if other is None:
            return self
        return Renewal(self.restart or other.restart, self.new_handle or other.new_handle)


@immutable
class Nothing:
    """No store call is needed."""


@immutable
class Drop:
    """Discard the changes, because the request's id was replaced or ended just now.

    `handle` is that of the session that had the id.
    """

    handle: str


@immutable
class Create:
    """Store a new session."""

    changes: Changes
    logs_in: bool = False


@immutable
class Update:
    """Change a stored session, and give it a new id if there is a `renewal`."""

    changes: Changes
    renewal: Renewal | None = None
    logs_in: bool = False


@immutable
class Touch:
    """Extend the expiry of a stored session."""


@immutable
class End:
    """Delete the session, also if its id has changed, and all sessions of user `everywhere`."""

    everywhere: str | None = None


Storing: TypeAlias = Create | Update
"""The intents that store changes."""
Intent: TypeAlias = Nothing | Drop | Storing | Touch | End

NOTHING = Nothing()


class CommitRules(NamedTuple):
    """The options of the manager that concern commits.

    - `resave`: store a session in each request that counts as use, changed or not.
    - `save_uninitialized`: store new sessions that are empty.
    - `touch_interval`: how long after its last use a session that is only read is touched, in
      microseconds. With a short idle timeout it is touched earlier.
    - `touch_after`: the interval that results for sessions without an idle timeout of their own.
    """

    resave: bool
    save_uninitialized: bool
    touch_interval: int
    touch_after: int


class Draft:
    """The unsaved changes of a session, apart from those of its data.

    `earlier` is applied before all other changes: a reset, or the changes of a failed commit. The
    defaults are class attributes because each request creates one or two drafts and most of them
    stay empty.
    """

    earlier: Changes = NO_CHANGES
    state: Changes = NO_CHANGES
    user_id: Set | None = None
    renewal: Renewal | None = None
    logs_in: bool = False
    is_touched: bool = False
    ends: bool = False
    ends_everywhere: str | None = None  # a user id: all sessions of this user end, too

    @property
    def has_changes(self) -> bool:
        """Whether the draft changes the document."""
        return (
            self.earlier is not NO_CHANGES
            or self.state is not NO_CHANGES
            or self.user_id is not None
        )
