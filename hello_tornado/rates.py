"""How often an address may do something, counted in this process's own memory."""

from datetime import timedelta
from typing import Final

from hello_tornado.accounts.networks import networks_of
from hello_tornado.sessions.records.lifetimes import MICROSECOND

MINUTE: Final = timedelta(minutes=1) // MICROSECOND
MOST_BUCKETS: Final = 10_000
# How many times more a wider network may do (see `networks`).
LENIENCE: Final = (1, 2, 4)


class Rate:
    """So many times a minute for each address, all of them at once if need be.

    It is a leaky bucket for each network: a number, the moment at which it will be empty. Beyond
    `MOST_BUCKETS` the oldest is forgotten.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._free_at: dict[str, int] = {}

    def admit(self, address: str, now: int) -> timedelta | None:
        """Count one; None when it may be done, else how long to wait. Refused ones do not count."""
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
