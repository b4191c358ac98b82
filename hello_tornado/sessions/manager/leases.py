"""Leases: locks that allow one request of a session at a time, in all processes.

A lease is stored in the session itself. Taking it is a compare and swap like any other change, so
it works with all stores. Only requests that ask for a lease wait; all others read and write as
usual.
"""

import asyncio
import random
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from hello_tornado.sessions.errors import SessionBusy, StoreError
from hello_tornado.sessions.events import LeaseNotReleased
from hello_tornado.sessions.manager.manager import SessionManager
from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.records.record import SessionRecord
from hello_tornado.sessions.session.operations import Set, Unset, Update
from hello_tornado.sessions.session.session import Session

FIRST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Lease:
    """A lock on a session; `release` ends it."""

    manager: SessionManager
    token: str

    async def release(self, session: Session) -> None:
        """Release the lease of *session*, also if its id has changed."""

        def drop(current: Session) -> None:
            if self.token in current.leases:
                current._operate_meta("leases", Update({self.token: Unset()}))

        try:
            if session.handle is not None:
                await self.manager.update(session.handle, drop)
        except StoreError as error:
            self.manager.emit(LeaseNotReleased(session.handle or "", str(error)))


async def lease(
    manager: SessionManager, record: SessionRecord, *, wait: timedelta, lasts: timedelta
) -> tuple[Session, Lease] | None:
    """Take the lease of a session and return it with the session; None if the session has ended.

    Args:
        manager: The manager of the session.
        record: The session as it was loaded; it is found also if its id has changed.
        wait: How long to wait for another request.
        lasts: How long the lease is valid. After that the next request gets it, even if this one
            has hung or crashed.

    Raises:
        SessionBusy: Another request had the lease for longer than *wait*.

    """
    mine = Lease(manager, secrets.token_hex(8))

    def take(session: Session) -> None:
        now = manager.now()
        if all(ends <= now for ends in session.leases.values()):
            session._operate_meta("leases", Set({mine.token: now + lasts // MICROSECOND}))

    loop = asyncio.get_running_loop()
    pause, deadline = FIRST_PAUSE, loop.time() + wait.total_seconds()
    while (session := await manager.update_from(record, take)) is not None:
        if mine.token in session.leases:
            return session, mine
        if (left := deadline - loop.time()) <= 0:
            raise SessionBusy(f"another request has locked this session for longer than {wait}")
        await asyncio.sleep(min(left, pause * random.uniform(0.5, 1)))  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE)
    return None
