"""Limits how often passwords may be guessed.

Guesses are counted in the database, for all processes together, and restarts keep the counts. The
algorithm is the leaky bucket (GCRA). A bucket is stored as the moment at which it will be empty.
Each guess moves this moment later by the cost of a guess, and is refused if the moment is too far
ahead. The names of buckets are hashes, so no address is stored.

A guess is counted for

- each network that it comes from (see `networks`); a wider network has a higher limit,
- the account; its limit recovers slowly, because an attacker may have many networks,
- the account at this address.

A guess from a device on which the user has logged in before is counted in the device's own bucket
instead, so that guesses from elsewhere never lock the device out.
"""

import hashlib
from datetime import timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, case, delete, insert, update
from sqlalchemy.exc import IntegrityError

from hello_tornado.accounts.networks import networks_of
from hello_tornado.accounts.tables import guesses
from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.stores.sql.database import SqlDatabase


class Limit(NamedTuple):
    """Allows *burst* guesses at once, and after that one every *interval*."""

    burst: int
    interval: timedelta


FOR_USER_AT_ADDRESS: Final = Limit(5, timedelta(minutes=1))
FOR_DEVICE: Final = FOR_USER_AT_ADDRESS
# NIST SP 800-63B, 3.2.2: no more than 100 wrong guesses in a row at one account.
FOR_ACCOUNT: Final = Limit(100, timedelta(minutes=5))
# From the narrowest network to the widest: an IPv4 address or a /64, a /56, a /48.
FOR_NETWORKS: Final = (
    Limit(30, timedelta(seconds=10)),
    Limit(60, timedelta(seconds=5)),
    Limit(120, timedelta(seconds=2.5)),
)
TRIES: Final = 3


class Guess(NamedTuple):
    """The account that is tried, the client's address, and the device if the account knows it."""

    user_id: str
    address: str
    device: str | None = None


class Bucket(NamedTuple):
    """A counter and its limit."""

    key: bytes
    limit: Limit
    is_emptied: bool = False  # a right guess empties it; from other buckets it removes only itself

    @property
    def cost(self) -> int:
        """Microseconds after which the bucket no longer counts a guess."""
        return self.limit.interval // MICROSECOND


class Throttle:
    """Counts guesses in the database."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def admit(self, guess: Guess, now: int) -> timedelta | None:
        """Count one guess at the moment *now*, in microseconds since 1970.

        Returns None if the guess is allowed, else how long to wait for the next one. Call this
        before the password is checked, so that concurrent guesses are counted, too.
        """
        waiting = await self._database.write(_count, _buckets(guess), now)
        return None if waiting is None else waiting * MICROSECOND

    async def forgive(self, guess: Guess) -> None:
        """Stop counting the last guess, because it was right."""
        await self._database.write(_forgive, _buckets(guess))


def _buckets(guess: Guess) -> tuple[Bucket, ...]:
    """Return the buckets of *guess*, widest first: a guess refused there adds no rows."""
    if guess.device is not None:
        key = _key("device", guess.user_id, guess.device)
        return (Bucket(key, FOR_DEVICE, is_emptied=True),)
    networks = networks_of(guess.address)
    wide = [
        Bucket(_key("address", network), limit)
        for network, limit in zip(networks, FOR_NETWORKS, strict=False)
    ]
    return (
        *reversed(wide),
        Bucket(_key("account", guess.user_id), FOR_ACCOUNT),
        Bucket(_key("user", guess.user_id, networks[0]), FOR_USER_AT_ADDRESS, is_emptied=True),
    )


def _key(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()


def _count(connection: Connection, buckets: tuple[Bucket, ...], now: int) -> int | None:
    """Count a guess in every bucket; if one is full, count in none and return how long to wait."""
    for number, bucket in enumerate(buckets):
        if (waiting := _pour(connection, bucket, now)) is not None:
            for one in buckets[:number]:
                _take_back(connection, one)
            return waiting
    return None


def _pour(connection: Connection, bucket: Bucket, now: int) -> int | None:
    full = now + (bucket.limit.burst - 1) * bucket.cost
    start = case((guesses.c.free_at > now, guesses.c.free_at), else_=now)
    counted = (
        update(guesses)
        .where(guesses.c.bucket == bucket.key, guesses.c.free_at <= full)
        .values(free_at=start + bucket.cost)
    )
    for _ in range(TRIES):
        if connection.execute(counted).rowcount:
            return None
        found = connection.execute(
            guesses.select().where(guesses.c.bucket == bucket.key)
        ).one_or_none()
        if found is not None and found.free_at > full:
            return int(found.free_at - full)
        if found is None and _begin(connection, bucket, now):
            return None
    return bucket.cost


def _begin(connection: Connection, bucket: Bucket, now: int) -> bool:
    """Insert a new bucket, after deleting those that are empty; False if it exists by now."""
    connection.execute(delete(guesses).where(guesses.c.free_at <= now))
    try:
        connection.execute(insert(guesses).values(bucket=bucket.key, free_at=now + bucket.cost))
    except IntegrityError:  # another process has just inserted it
        return False
    return True


def _forgive(connection: Connection, buckets: tuple[Bucket, ...]) -> None:
    for bucket in buckets:
        if bucket.is_emptied:
            connection.execute(delete(guesses).where(guesses.c.bucket == bucket.key))
        else:
            _take_back(connection, bucket)


def _take_back(connection: Connection, bucket: Bucket) -> None:
    connection.execute(
        update(guesses)
        .where(guesses.c.bucket == bucket.key)
        .values(free_at=guesses.c.free_at - bucket.cost)
    )
