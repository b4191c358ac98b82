"""One request of a session at a time, in all processes: a lease, written into the session itself.

Taking the lease is a compare and swap like any other change, so every store can do it. It binds
only those who ask for it: all others read and write as ever.
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
    """The right to be the only one, to be given back with `release`."""

    manager: SessionManager
    token: str

    async def release(self, session: Session) -> None:
        """Let the next one in; *session* is the one that was leased, wherever it stands now."""

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
    """The session that was loaded as *record* once nobody else has the lease; None if it ended.

    Waits for at most *wait*, and then raises `SessionBusy`. A new id is followed. The lease *lasts*
    so long: a request that died or hangs with it does not keep the others out for ever.
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
            raise SessionBusy(f"another request has had this session to itself for {wait}")
        await asyncio.sleep(min(left, pause * random.uniform(0.5, 1)))  # noqa: S311 - no secret
        pause = min(2 * pause, LONGEST_PAUSE)
    return None
