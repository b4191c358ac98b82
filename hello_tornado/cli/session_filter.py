"""Which sessions a command is about: by user, age and idleness, read a page at a time."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from hello_tornado.accounts.usernames import BadName, user_id_of
from hello_tornado.sessions import Store
from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.records.record import Listed, page_order

PAGE = 500


@dataclass(frozen=True, slots=True)
class Selection:
    """Which living sessions are meant."""

    now: int
    user: str | None = None
    older_than: timedelta | None = None
    idle_for: timedelta | None = None

    def __contains__(self, record: Listed) -> bool:
        return (
            record.expires_at > self.now
            and self._is_before(record.created_at, self.older_than)
            and self._is_before(record.accessed_at, self.idle_for)
        )

    async def _of_user(self, store: Store, user: str) -> list[Listed]:
        """Those of exactly this user; if there are none, of the name as our login folds it."""
        found = [record for record in await store.find_by_user(user) if record in self]
        with suppress(BadName):
            if not found and user_id_of(user) != user:
                return await self._of_user(store, user_id_of(user))
        return found

    def _is_before(self, moment: int, ago: timedelta | None) -> bool:
        return ago is None or self.now - moment > ago // MICROSECOND

    async def records(self, store: Store, after: Listed | None = None) -> AsyncIterator[Listed]:
        """Those of *store*, by their end, a page at a time."""
        if self.user is not None:
            for record in sorted(await self._of_user(store, self.user), key=page_order):
                if after is None or page_order(record) > page_order(after):
                    yield record
            return
        while page := await store.page(after, PAGE):
            for record in page:
                if record in self:
                    yield record
            after = page[-1]


async def count_expired(store: Store, now: int) -> int:
    """How many sessions have expired and are not yet deleted."""
    return await store.count() - await store.count(now)
