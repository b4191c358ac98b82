"""What is kept of a session id that is no longer good: why, and since when.

A tombstone is a record under a key of its own, to which no id leads. It holds nothing of the
session's data. Its moments are negative: each is the real one minus `ERA`. So every store takes it
for expired, counts it nowhere, and leaves it alone when it purges sessions (`SessionRecord`), and
`page` lists the tombstones first, the one that may be forgotten soonest at the head.
"""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from hello_tornado.sessions.events import EndedReason
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.records.record import SessionRecord

# Taken off the moments of a tombstone: 142 years. A double, in which Redis sorts, still holds them.
ERA: Final = 2**52

# A request may leave the browser with an id and be handled after the id was replaced or ended. For
# so long, microseconds, nothing that comes with the old id begins a session or sends a cookie.
JUST_NOW: Final = timedelta(minutes=1) // MICROSECOND


class Tombstone(NamedTuple):
    """Why the id of the session with this handle is no longer good, and since which moment.

    `goes_on` when the id was only renewed: the session is still the same user's, under another id.
    """

    reason: EndedReason
    handle: str
    ended_at: int
    goes_on: bool = False

    def document(self) -> dict[str, Any]:
        """What a record holds of it."""
        ended: dict[str, Any] = {"ended": self.reason.value, "handle": self.handle}
        return ended | {"goes_on": True} if self.goes_on else ended


def read_tombstone(document: Mapping[str, Any], record: SessionRecord) -> Tombstone | None:
    """The tombstone whose *document* was read from *record*."""
    reason, handle = document.get("ended"), document.get("handle")
    if not isinstance(reason, str) or not isinstance(handle, str) or record.expires_at > 0:
        return None
    if reason not in {*EndedReason}:
        return None
    goes_on = document.get("goes_on") is True
    return Tombstone(EndedReason(reason), handle, record.created_at + ERA, goes_on)


def tombstone_key_of(key: SessionKey) -> SessionKey:
    """The key of the tombstone of a session that stood under *key*.

    Both begin with the same byte, so that a store that spreads its keys by it has them in one place
    and stores a renewal and its tombstone in one step.
    """
    return SessionKey(key[:1] + hashlib.sha256(b"tombstone of " + key).digest()[1:])
