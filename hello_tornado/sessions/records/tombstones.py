"""Tombstones: records that say why and when a session id became invalid.

A tombstone is a record under a separate key, which is not the key of any session id. It has none of
the session's data. Its moments are negative: each is the real one minus `ERA`. Stores therefore
treat it as expired, do not count it, and do not delete it when they purge sessions
(`SessionRecord`). `page` lists tombstones before sessions, the one that expires first at the top.
"""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from hello_tornado.sessions.events import EndedReason
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.records.record import SessionRecord

# Subtracted from the moments of a tombstone: 142 years. Redis sorts by doubles, and the results are
# still exact as doubles.
ERA: Final = 2**52

# A browser may send a request with an id that is replaced or ended before the request is handled.
# For this long, in microseconds, requests with the old id begin no session and set no cookie.
JUST_NOW: Final = timedelta(minutes=1) // MICROSECOND


class Tombstone(NamedTuple):
    """Why and when a session id became invalid.

    - `reason`: why.
    - `handle`: the handle of the session that had the id.
    - `ended_at`: the moment at which the id became invalid.
    - `goes_on`: the id was only renewed; the session continues for the same user under a new id.
    """

    reason: EndedReason
    handle: str
    ended_at: int
    goes_on: bool = False

    def document(self) -> dict[str, Any]:
        """Return the document that the tombstone's record contains."""
        ended: dict[str, Any] = {"ended": self.reason.value, "handle": self.handle}
        return ended | {"goes_on": True} if self.goes_on else ended


def read_tombstone(document: Mapping[str, Any], record: SessionRecord) -> Tombstone | None:
    """Return the tombstone in *record*, whose data is *document*; None if it is not one."""
    reason, handle = document.get("ended"), document.get("handle")
    if not isinstance(reason, str) or not isinstance(handle, str) or record.expires_at > 0:
        return None
    if reason not in {*EndedReason}:
        return None
    goes_on = document.get("goes_on") is True
    return Tombstone(EndedReason(reason), handle, record.created_at + ERA, goes_on)


def tombstone_key_of(key: SessionKey) -> SessionKey:
    """Return the key of the tombstone for a session key.

    Both begin with the same byte. A store that distributes its keys by the first byte has them in
    one place and can store a renewal and its tombstone in one step.
    """
    return SessionKey(key[:1] + hashlib.sha256(b"tombstone of " + key).digest()[1:])
