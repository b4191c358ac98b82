"""Users and their passwords, in a SQL database."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, select, update

from hello_tornado.accounts.passwords import Passwords
from hello_tornado.accounts.tables import metadata, users
from hello_tornado.accounts.throttle import Guess, Throttle
from hello_tornado.accounts.usernames import BadName, shown_name, user_id_of
from hello_tornado.sessions.records.lifetimes import system_clock
from hello_tornado.sessions.stores.sql.database import SqlDatabase, Taken

NOBODY: Final = ""


@dataclass(frozen=True, slots=True)
class Account:
    """A user.

    - `user_id`: the name in the form in which names are compared.
    - `name`: the name in the form in which it is shown.
    - `password`: a hash.
    - `created_at`, `disabled_at`, `signed_out_at`: in microseconds since 1970, or None. Sessions
      of the user that began before `signed_out_at` are over.
    """

    user_id: str
    name: str
    password: str
    created_at: int
    disabled_at: int | None = None
    signed_out_at: int | None = None


class KnownDevice(NamedTuple):
    """A device on which a user has logged in before.

    A user knows the device if its `stamp` is that of their password, or if the `stamp` is None,
    which means that the device has a session of the user. Guesses from the device are counted
    under its `name`.
    """

    name: str
    stamp: str | None = None

    def is_known_to(self, account: Account | None) -> bool:
        """Whether *account* has logged in here with its present password; False for None."""
        if account is None:
            return False
        return self.stamp is None or hmac.compare_digest(self.stamp, stamp_of(account))


def stamp_of(account: Account) -> str:
    """Return what a device stores about a login: it changes with the password but hides it."""
    text = f"known device\0{account.user_id}\0{account.password}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Throttled:
    """There were too many guesses; the next one is allowed after `wait`."""

    wait: timedelta


@dataclass(frozen=True, slots=True)
class Wrong:
    """The user does not exist, is disabled or has another password; it is not said which."""


class Accounts:
    """The users in a database.

    Args:
        database: The database, which has the tables already. `from_url` opens one.
        passwords: Computes the hashes of passwords.
        clock: Returns the present moment in microseconds since 1970 (the system's clock).

    """

    def __init__(
        self,
        database: SqlDatabase,
        passwords: Passwords,
        clock: Callable[[], int] = system_clock,
    ) -> None:
        self._database = database
        self._throttle = Throttle(database)
        self.passwords = passwords
        self._now = clock

    @classmethod
    def from_url(cls, url: str, clock: Callable[[], int] = system_clock) -> "Accounts":
        """Open the database of this URL; it may be the one that has the sessions."""
        return cls(SqlDatabase.from_url(url, metadata), Passwords(), clock)

    @property
    def database(self) -> SqlDatabase:
        """The database, for queries about something other than accounts."""
        return self._database

    async def find(self, name: str) -> Account | None:
        """Return the user of this name, or None; case, width and blanks do not matter."""
        try:
            user_id = user_id_of(name)
        except BadName:
            return None
        return await self._database.read(_find, user_id)

    async def all(self) -> Sequence[Account]:
        """Return all users, ordered by user id."""
        return await self._database.read(_all)

    async def log_in(
        self, name: str, password: bytes, address: str, device: KnownDevice | None = None
    ) -> Account | Throttled | Wrong:
        """Check a name and a password; return the user, or why they cannot log in.

        This takes equally long whether there is such a user or not. If the user knows *device*,
        the guess is counted for the device only, otherwise for the account and for *address*.

        Raises `PasswordsBusy` when too many passwords are waiting to be hashed.
        """
        try:
            user_id = user_id_of(name)
        except BadName:
            user_id = NOBODY
        account = await self._database.read(_find, user_id)
        known = device.name if device is not None and device.is_known_to(account) else None
        guess = Guess(user_id, address, known)
        wait = await self._throttle.admit(guess, self._now())
        if wait is not None:
            return Throttled(wait)
        is_right = await self.passwords.match(account.password if account else None, password)
        if account is None or not is_right or account.disabled_at is not None:
            return Wrong()
        await self._throttle.forgive(guess)
        if self.passwords.is_dated(account.password):
            fresh = replace(account, password=await self.passwords.hash(password))
            if await self._database.write(_change, account, fresh):
                return fresh
        return account

    async def is_unchanged(self, account: Account) -> bool:
        """Whether the database still has the user exactly as in *account*."""
        return await self._database.read(_find, account.user_id) == account

    async def add(self, name: str, password: bytes) -> Account | None:
        """Add a user and return it; None if `find` finds a user of this name.

        Raises `BadName` when the text cannot be a name, and `PasswordsBusy` as `log_in` does.
        """
        account = Account(
            user_id=user_id_of(name),
            name=shown_name(name),
            password=await self.passwords.hash(password),
            created_at=self._now(),
        )
        try:
            await self._database.write(_add, account)
        except Taken:
            return None
        return account

    async def set_password(self, account: Account, password: bytes) -> Account | None:
        """Change the password and return the new account.

        Returns None if the password in the database is no longer that of *account*. Raises
        `PasswordsBusy` as `log_in` does.
        """
        fresh = replace(account, password=await self.passwords.hash(password))
        return fresh if await self._database.write(_change, account, fresh) else None

    async def disable(self, user_id: str) -> None:
        """Refuse logins of this user from now on."""
        await self._database.write(_set, user_id, {"disabled_at": self._now()})

    async def enable(self, user_id: str) -> None:
        """Allow this user to log in again."""
        await self._database.write(_set, user_id, {"disabled_at": None})

    async def delete(self, user_id: str) -> None:
        """Delete this user."""
        await self._database.write(_delete, user_id)

    async def sign_out(self, user_id: str) -> None:
        """Record that all sessions which this user has begun so far are over.

        Servers that keep sessions in their memory check for this, because no other process can
        end those sessions.
        """
        await self._database.write(_set, user_id, {"signed_out_at": self._now()})

    async def signed_out_since(self, moment: int) -> Sequence[Account]:
        """Return the users signed out at or after *moment*, in microseconds since 1970."""
        return await self._database.read(_signed_out_since, moment)

    async def aclose(self) -> None:
        """Close the database and stop the threads that compute hashes."""
        self.passwords.close()
        await self._database.aclose()


def _account(row: Row[tuple[object, ...]]) -> Account:
    return Account(**row._mapping)


def _find(connection: Connection, user_id: str) -> Account | None:
    row = connection.execute(select(users).where(users.c.user_id == user_id)).one_or_none()
    return None if row is None else _account(row)


def _all(connection: Connection) -> Sequence[Account]:
    return [_account(row) for row in connection.execute(select(users).order_by(users.c.user_id))]


def _signed_out_since(connection: Connection, moment: int) -> Sequence[Account]:
    found = connection.execute(select(users).where(users.c.signed_out_at >= moment))
    return [_account(row) for row in found]


def _add(connection: Connection, account: Account) -> None:
    values = {name: getattr(account, name) for name in account.__slots__}
    connection.execute(insert(users).values(values))


def _change(connection: Connection, old: Account, new: Account) -> bool:
    changed = (
        update(users)
        .where(users.c.user_id == old.user_id, users.c.password == old.password)
        .values(password=new.password)
    )
    return connection.execute(changed).rowcount == 1


def _delete(connection: Connection, user_id: str) -> None:
    connection.execute(delete(users).where(users.c.user_id == user_id))


def _set(connection: Connection, user_id: str, values: dict[str, int | None]) -> None:
    connection.execute(update(users).where(users.c.user_id == user_id).values(values))
