"""Limits how often an address may do something, counted in the memory of this process."""

from datetime import timedelta
from typing import Final

from hello_tornado.accounts.networks import networks_of
from hello_tornado.sessions.records.lifetimes import MICROSECOND

MINUTE: Final = timedelta(minutes=1) // MICROSECOND
MOST_BUCKETS: Final = 10_000
# The limits of the networks of an address are this many times higher, narrowest first.
LENIENCE: Final = (1, 2, 4)


class Rate:
    """Allows each address *per_minute* actions a minute; they may come all at once.

    Each network has a leaky bucket, kept as the moment at which it will be empty. When there are
    more than `MOST_BUCKETS`, the oldest is deleted.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._free_at: dict[str, int] = {}

    def admit(self, address: str, now: int) -> timedelta | None:
        """Count one action of *address* at the moment *now*, in microseconds since 1970.

        Returns None when it is allowed, else how long to wait. Refused actions are not counted.
        """
        later = {}
        for network, lenience in zip(networks_of(address), LENIENCE, strict=False):
            burst = self._per_minute * lenience
            cost = MINUTE // burst
            free_at = max(self._free_at.get(network, now), now)
            if free_at + cost > now + burst * cost:
                return (free_at + cost - now - burst * cost) * MICROSECOND
            later[network] = free_at + cost
        self._free_at |= later
        while len(self._free_at) > MOST_BUCKETS:
            del self._free_at[next(iter(self._free_at))]
        return None
