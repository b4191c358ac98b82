"""How often passwords may be guessed: counted in the database, for all processes and restarts.

Each bucket is one number, the moment at which it will be empty (a leaky bucket, GCRA): a guess
moves it later by what a guess costs, and is refused when it is too far ahead. Nobody is kept out
but who guesses: there is one bucket for a user *at an address*, and one for the address; a stranger
elsewhere cannot lock anybody out. The buckets' names are hashes, so no address is stored.
"""

import hashlib
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

from sqlalchemy import Connection, case, delete, insert, update
from sqlalchemy.exc import IntegrityError

from hello_tornado.sessions.lifetimes import MICROSECOND
from hello_tornado.sessions.stores.sql_database import SqlDatabase
from hello_tornado.tables import guesses


class Limit(NamedTuple):
    """*burst* guesses at once, and then one each *interval*."""

    burst: int
    interval: timedelta


FOR_USER_AT_ADDRESS: Final = Limit(5, timedelta(minutes=1))
FOR_ADDRESS: Final = Limit(30, timedelta(seconds=10))
TRIES: Final = 3


class Bucket(NamedTuple):
    """What is counted, and how much of it is allowed."""

    key: bytes
    limit: Limit

    @property
    def cost(self) -> int:
        """Microseconds until the bucket has forgotten one guess."""
        return self.limit.interval // MICROSECOND


class Throttle:
    """Counts guesses in *database*."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def admit(self, user_id: str, address: str, now: int) -> timedelta | None:
        """Count one guess; None when it may be made, else how long to wait for the next.

        Counted before the password is looked at: guesses side by side count, too.
        """
        buckets = _buckets(user_id, address)
        waiting = await self._database.write(_count, buckets, now)
        return None if waiting is None else waiting * MICROSECOND

    async def forgive(self, user_id: str, address: str) -> None:
        """The last guess was right, and whoever knows the password need not guess."""
        mine, everybodys = _buckets(user_id, address)
        await self._database.write(_forgive, mine, everybodys)


def _buckets(user_id: str, address: str) -> tuple[Bucket, Bucket]:
    network = _network(address)
    return (
        Bucket(_key("user", user_id, network), FOR_USER_AT_ADDRESS),
        Bucket(_key("address", network), FOR_ADDRESS),
    )


def _network(address: str) -> str:
    """An IPv6 subscriber has a whole /64 of addresses."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ip_network(f"{address}/64", strict=False))


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
    """A new bucket; whoever begins one clears away those that are empty again."""
    connection.execute(delete(guesses).where(guesses.c.free_at <= now))
    try:
        connection.execute(insert(guesses).values(bucket=bucket.key, free_at=now + bucket.cost))
    except IntegrityError:  # another process has begun it meanwhile
        return False
    return True


def _forgive(connection: Connection, mine: Bucket, everybodys: Bucket) -> None:
    connection.execute(delete(guesses).where(guesses.c.bucket == mine.key))
    _take_back(connection, everybodys)


def _take_back(connection: Connection, bucket: Bucket) -> None:
    connection.execute(
        update(guesses)
        .where(guesses.c.bucket == bucket.key)
        .values(free_at=guesses.c.free_at - bucket.cost)
    )
