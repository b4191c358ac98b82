"""What a store keeps of a session, and the one verb by which it changes: compare and swap."""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from hello_tornado.sessions.records.ids import SessionKey


class SessionRecord(NamedTuple):
    """One session as a store sees it: opaque data, and the few facts that are compared or indexed.

    Moments are microseconds since 1970. `version` is 1 at creation and grows by one with every
    swap; a touch leaves it alone. A record that expires before 1970 (`expires_at <= 0`) is no
    session: no purge and no count takes it in.
    """

    key: SessionKey
    handle: str
    version: int
    user_id: str | None
    data: bytes
    created_at: int
    accessed_at: int
    expires_at: int

    @property
    def size(self) -> int:
        """The bytes of the data."""
        return len(self.data)

    @property
    def facts(self) -> "SessionFacts":
        """The record as it is listed."""
        return SessionFacts(
            self.key,
            self.handle,
            self.version,
            self.user_id,
            self.size,
            self.created_at,
            self.accessed_at,
            self.expires_at,
        )


class SessionFacts(NamedTuple):
    """A record as it is listed: its `size` stands in the place of its data."""

    key: SessionKey
    handle: str
    version: int
    user_id: str | None
    size: int
    created_at: int
    accessed_at: int
    expires_at: int


Listed: TypeAlias = SessionFacts | SessionRecord
"""What a store may list: of a whole record only the facts are read."""


def page_order(record: Listed) -> tuple[int, SessionKey]:
    """What pages are ordered by: the end of a record, and then its key."""
    return record.expires_at, record.key


class Swap(NamedTuple):
    """Put `new` where `old` still stands: same key, same version. Without `old`, create.

    When `new` has another key, the session's id was renewed, and the old key dies in the same
    atomic step.
    """

    old: SessionRecord | None
    new: SessionRecord


@dataclass(frozen=True, slots=True)
class Saved:
    """The new record stands."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written: `current` stands in the way.

    Either a newer version of the old record, or (with the new record's key) a stranger under the
    id that was to be given out.
    """

    current: SessionRecord


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing was written: the old record no longer exists, and is not to be made again."""


class Again(enum.Enum):
    """The type of `AGAIN`: nothing was written, for somebody else holds the row; ask once more."""

    AGAIN = enum.auto()


AGAIN: Final = Again.AGAIN

Outcome: TypeAlias = Saved | Conflict | Gone | Again

MAX_BATCH_BYTES: Final = 1024 * 1024


def in_parts(swaps: Sequence[Swap], max_bytes: int = MAX_BATCH_BYTES) -> Iterator[Sequence[Swap]]:
    """The *swaps* in parts that hold so much data at most: what a server takes at once is limited.

    A record that is bigger alone is a part alone.
    """
    start, size = 0, 0
    for place, (_, new) in enumerate(swaps):
        size += len(new.data)
        if size > max_bytes and place > start:
            yield swaps[start:place]
            start, size = place, len(new.data)
    yield swaps[start:]
