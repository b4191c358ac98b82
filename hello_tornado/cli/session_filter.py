"""Selects the sessions of a command by user, age and idle time, and reads them in pages."""

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
    """A filter for sessions that have not ended at the moment *now* (microseconds since 1970)."""

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
        """Return the sessions of user id *user*; without any, those of the user of this name."""
        found = [record for record in await store.find_by_user(user) if record in self]
        with suppress(BadName):
            if not found and user_id_of(user) != user:
                return await self._of_user(store, user_id_of(user))
        return found

    def _is_before(self, moment: int, ago: timedelta | None) -> bool:
        return ago is None or self.now - moment > ago // MICROSECOND

    async def records(self, store: Store, after: Listed | None = None) -> AsyncIterator[Listed]:
        """Yield the sessions in *store* after the one *after*, ordered by when they end."""
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
    """Return how many sessions have expired but are not deleted yet."""
    return await store.count() - await store.count(now)
