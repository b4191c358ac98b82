"""Ends sessions in this server's memory after a command has signed their user out.

Commands end sessions in every other store themselves. For sessions in a server's memory they mark
the user in the table of users, and the server checks for these marks.
"""

import logging
from typing import Final

from tornado.ioloop import PeriodicCallback

from hello_tornado.accounts.accounts import Accounts
from hello_tornado.sessions import SessionManager
from hello_tornado.sessions.errors import StoreError

INTERVAL_MILLISECONDS: Final = 500
OVERLAP: Final = 5_000_000  # microseconds: finds marks that were written a little late, too

logger = logging.getLogger("hello_tornado.server")


class SignedOut:
    """Checks for users who were signed out, twice a second from `start` to `stop`."""

    def __init__(self, accounts: Accounts, manager: SessionManager) -> None:
        self._accounts = accounts
        self._manager = manager
        self._seen_until = manager.now()
        self._periodic = PeriodicCallback(self.look, INTERVAL_MILLISECONDS)

    def start(self) -> None:
        """Start to check."""
        self._periodic.start()

    def stop(self) -> None:
        """Stop checking."""
        self._periodic.stop()

    async def look(self) -> None:
        """End the sessions that began before their user was signed out."""
        now = self._manager.now()
        try:
            for account in await self._accounts.signed_out_since(self._seen_until - OVERLAP):
                sessions = await self._manager.facts_of(account.user_id)
                until = account.signed_out_at or 0
                over = [one.handle for one in sessions if one.created_at <= until]
                await self._manager.revoke(*over)
        except StoreError as error:
            logger.error("cannot check which users were signed out: %s", error)  # noqa: TRY400
        else:
            self._seen_until = now
