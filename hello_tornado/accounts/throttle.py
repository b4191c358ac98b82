"""How often passwords may be guessed: counted in the database, for all processes and restarts.

Each bucket is one number, the moment at which it will be empty (a leaky bucket, GCRA): a guess
moves it later by what a guess costs, and is refused when it is too far ahead. The buckets' names
are hashes, so no address is stored.

A guess is counted for

- each network that it comes from (see `networks`), the wider the more leniently,
- the account, slowly, because an attacker may have many networks,
- the account at this address.

A device at which the user has logged in before has a bucket of its own instead of all these, so
that guesses from elsewhere never lock it out.
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
    """*burst* guesses at once, and then one each *interval*."""

    burst: int
    interval: timedelta


FOR_USER_AT_ADDRESS: Final = Limit(5, timedelta(minutes=1))
FOR_DEVICE: Final = FOR_USER_AT_ADDRESS
# NIST SP 800-63B, 3.2.2: no more than 100 wrong guesses in a row at one account.
FOR_ACCOUNT: Final = Limit(100, timedelta(minutes=5))
# From the narrowest network to the widest: an address of IPv4 or a /64, a /56, a /48.
FOR_NETWORKS: Final = (
    Limit(30, timedelta(seconds=10)),
    Limit(60, timedelta(seconds=5)),
    Limit(120, timedelta(seconds=2.5)),
)
TRIES: Final = 3


class Guess(NamedTuple):
    """Which account is tried, and from where; *device* names one that the account knows."""

    user_id: str
    address: str
    device: str | None = None


class Bucket(NamedTuple):
    """What is counted, and how much of it is allowed."""

    key: bytes
    limit: Limit
    is_emptied: bool = False  # by a right guess; of the others it takes back only itself

    @property
    def cost(self) -> int:
        """Microseconds until the bucket has forgotten one guess."""
        return self.limit.interval // MICROSECOND


class Throttle:
    """Counts guesses in *database*."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def admit(self, guess: Guess, now: int) -> timedelta | None:
        """Count one guess; None when it may be made, else how long to wait for the next.

        Counted before the password is looked at: guesses side by side count, too.
        """
        waiting = await self._database.write(_count, _buckets(guess), now)
        return None if waiting is None else waiting * MICROSECOND

    async def forgive(self, guess: Guess) -> None:
        """Take the last guess back, because it was right."""
        await self._database.write(_forgive, _buckets(guess))


def _buckets(guess: Guess) -> tuple[Bucket, ...]:
    """The widest first: a guess that is refused there leaves no rows behind."""
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
    """Count in every bucket, or in none of them and say how long to wait."""
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
    """Begin a new bucket, after clearing away those that are empty again."""
    connection.execute(delete(guesses).where(guesses.c.free_at <= now))
    try:
        connection.execute(insert(guesses).values(bucket=bucket.key, free_at=now + bucket.cost))
    except IntegrityError:  # another process has begun it meanwhile
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
