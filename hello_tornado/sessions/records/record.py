"""The record that a store keeps of a session, and its only kind of write: compare and swap."""

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from hello_tornado.sessions.records.ids import SessionKey


class SessionRecord(NamedTuple):
    """A session in a store: opaque data, and the facts that stores compare or index.

    - `key`: the hash of the session id, 32 bytes.
    - `handle`: the public name of the session.
    - `version`: 1 at creation; each swap adds one, a touch does not change it.
    - `user_id`: the user who is logged in, or None.
    - `data`: the serialized data.
    - `created_at`, `accessed_at`, `expires_at`: in microseconds since 1970.

    A record that expires before 1970 (`expires_at <= 0`) is not a session: stores neither purge nor
    count it.
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
        """The length of the data in bytes."""
        return len(self.data)

    @property
    def facts(self) -> "SessionFacts":
        """The record as it appears in lists, without its data."""
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
    """A record as it appears in lists: with the `size` of its data, in bytes, and without it."""

    key: SessionKey
    handle: str
    version: int
    user_id: str | None
    size: int
    created_at: int
    accessed_at: int
    expires_at: int


Listed: TypeAlias = SessionFacts | SessionRecord
"""A member of a list that a store returns. It may be a whole record; only its facts are read."""


def page_order(record: Listed) -> tuple[int, SessionKey]:
    """Return the sort key of pages: when the record expires, then its key."""
    return record.expires_at, record.key


class Swap(NamedTuple):
    """A request to replace `old` by `new` if the store still has `old` in the same version.

    If `old` is None, the store creates `new`. If `new` has another key, the session's id was
    renewed, and the store deletes the old key in the same atomic step.
    """

    old: SessionRecord | None
    new: SessionRecord


@dataclass(frozen=True, slots=True)
class Saved:
    """The store has the new record."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written, because the store has `current` instead.

    That is another version of the old record, or a different session that already has the new
    record's key.
    """

    current: SessionRecord


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing was written, because the old record no longer exists. Do not create it again."""


class Again(enum.Enum):
    """The type of `AGAIN`: nothing was written because the row is locked elsewhere; try again."""

    AGAIN = enum.auto()


AGAIN: Final = Again.AGAIN

Outcome: TypeAlias = Saved | Conflict | Gone | Again

MAX_BATCH_BYTES: Final = 1024 * 1024


def in_parts(swaps: Sequence[Swap], max_bytes: int = MAX_BATCH_BYTES) -> Iterator[Sequence[Swap]]:
    """Yield *swaps* in parts with at most *max_bytes* of data (1 MiB).

    Servers limit the size of a statement. A record that is bigger than the limit is a part by
    itself.
    """
    start, size = 0, 0
    for place, (_, new) in enumerate(swaps):
        size += len(new.data)
        if size > max_bytes and place > start:
            yield swaps[start:place]
            start, size = place, len(new.data)
    yield swaps[start:]
