"""What a request has done to its session, and what the store must do because of it.

`Session.intent()` decides. Everything else asks it: the handler, whether the response must wait for
the store, and the manager, what to store.
"""

from typing import NamedTuple, TypeAlias

from hello_tornado.sessions.records.immutable import immutable
from hello_tornado.sessions.session.operations import NO_CHANGES, Set
from hello_tornado.sessions.session.operations import Update as Changes


@immutable
class Renewal:
    """A new id at commit. `restart` also starts the absolute timeout anew."""

    restart: bool = False
    new_handle: bool = False

    def __or__(self, other: "Renewal | None") -> "Renewal":
        if other is None:
            return self
        return Renewal(self.restart or other.restart, self.new_handle or other.new_handle)


@immutable
class Nothing:
    """The store need not be asked."""


@immutable
class Drop:
    """Forget what was written: the request came with an id that was replaced or ended just now."""

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
    """Move the expiry of a stored session forward."""


@immutable
class End:
    """Delete the session, wherever it is stored now, and all others of a user if one is named."""

    everywhere: str | None = None


Storing: TypeAlias = Create | Update
"""The intents that store changes."""
Intent: TypeAlias = Nothing | Drop | Storing | Touch | End

NOTHING = Nothing()


class CommitRules(NamedTuple):
    """What the manager's options say of commits.

    A session that is only read is touched `touch_interval` microseconds after its last use, or
    earlier if its idle timeout is short; `touch_after` is what follows for most of them.
    """

    resave: bool
    save_uninitialized: bool
    touch_interval: int
    touch_after: int


class Draft:
    """What is not stored yet, apart from the changes of the data.

    `earlier` comes before all other changes: a reset, or what a failed commit has left to do. Each
    request makes one or two, most of them stay empty, and a class's attributes cost nothing.
    """

    earlier: Changes = NO_CHANGES
    state: Changes = NO_CHANGES
    user_id: Set | None = None
    renewal: Renewal | None = None
    logs_in: bool = False
    is_touched: bool = False
    ends: bool = False
    ends_everywhere: str | None = None  # whose sessions all end with this one

    @property
    def has_changes(self) -> bool:
        """Whether the document is changed."""
        return (
            self.earlier is not NO_CHANGES
            or self.state is not NO_CHANGES
            or self.user_id is not None
        )
