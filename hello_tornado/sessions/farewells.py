"""Why a session ended, told for a while to whoever still asks for it.

What has ended is gone from the store, for good. A farewell is another record, under a key of its
own, that is dead from birth: it counts nowhere, leads to nothing, and leaves with the next purge.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import timedelta

from hello_tornado.sessions.codec import Codec
from hello_tornado.sessions.ids import SessionKey, farewell_key_of
from hello_tornado.sessions.lifetimes import MICROSECOND
from hello_tornado.sessions.record import SessionRecord, Swap
from hello_tornado.sessions.session import EndedReason
from hello_tornado.sessions.stores import Store


class Farewells:
    """Reasons in *store*, told until *kept_for* after the end."""

    def __init__(
        self, store: Store, codec: Codec, clock: Callable[[], int], kept_for: timedelta
    ) -> None:
        self._store = store
        self._codec = codec
        self._clock = clock
        self._kept_for = kept_for // MICROSECOND

    async def leave(self, keys: Collection[SessionKey], reason: EndedReason) -> None:
        """Remember why the sessions that stood under *keys* are over."""
        if self._kept_for:
            farewells = [self._codec.farewell(farewell_key_of(key), reason) for key in keys]
            await self._store.save([Swap(None, farewell) for farewell in farewells])

    async def reason(self, key: SessionKey, dead: SessionRecord | None) -> EndedReason | None:
        """Why there is no session under *key*; *dead* is what stands there after its time."""
        if dead is not None:
            return "expired" if self._is_recent(dead) else None
        return (await self.reasons([key])).get(key)

    async def reasons(self, keys: Collection[SessionKey]) -> Mapping[SessionKey, EndedReason]:
        """Why there is nothing under these keys, as far as it was said."""
        asked = {farewell_key_of(key): key for key in keys}
        found = await self._store.load(asked)
        return {
            asked[name]: reason
            for name, farewell in found.items()
            if self._is_recent(farewell) and (reason := self._codec.reason(farewell)) is not None
        }

    def _is_recent(self, record: SessionRecord) -> bool:
        return self._clock() - record.expires_at < self._kept_for
