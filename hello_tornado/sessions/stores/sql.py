"""The store over a SQL database: SQLite, PostgreSQL, MariaDB or MySQL."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
)

from hello_tornado.sessions.errors import (
    ConfigurationError,
    StoreError,
    StoreTimeout,
    StoreUnavailable,
)
from hello_tornado.sessions.ids import SessionKey
from hello_tornado.sessions.record import Conflict, Outcome, SessionRecord, Swap
from hello_tornado.sessions.stores import statements, without_password
from hello_tornado.sessions.stores.held import HeldLanes
from hello_tornado.sessions.stores.saves import save
from hello_tornado.sessions.stores.schema import metadata
from hello_tornado.sessions.stores.sql_url import target_of
from hello_tornado.sessions.stores.sqlite import SqliteLanes

P = ParamSpec("P")
R = TypeVar("R")


class Lanes(Protocol):
    """How a kind of database is driven: where the functions of `statements` and `saves` run."""

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function* on a connection in AUTOCOMMIT."""

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function*, which begins and ends its own transaction."""

    async def aclose(self) -> None:
        """Close every connection."""


class SqlStore:
    """A store over one database; `from_url` opens it."""

    def __init__(self, lanes: Lanes, name: str) -> None:
        self._lanes = lanes
        self._name = name

    def __str__(self) -> str:
        return self._name

    @classmethod
    def from_url(cls, text: str) -> "SqlStore":
        """The store of a SQLAlchemy URL, in its everyday form or with a driver."""
        target = target_of(text)
        name = without_password(target.url.render_as_string())
        try:
            if target.url.get_backend_name() == "sqlite":
                return cls(SqliteLanes(target.url, metadata), name)
            return cls(HeldLanes(target), name)
        except ArgumentError as error:
            raise ConfigurationError(f"the store's URL cannot be used: {error}") from None

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        """The records under these keys."""
        return await self._answer(self._lanes.read, statements.load, keys)

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        """One outcome for each swap, in order."""
        try:
            return await self._answer(self._lanes.write, save, swaps)
        except _Taken:
            return [await self._save_one(swap) for swap in swaps]

    async def _save_one(self, swap: Swap) -> Outcome:
        try:
            (outcome,) = await self._answer(self._lanes.write, save, [swap])
        except _Taken:
            is_new_key = swap.old is None or swap.old.key != swap.new.key
            found = await self.load([swap.new.key]) if is_new_key else {}
            if not found:
                raise
            return Conflict(found[swap.new.key])
        return outcome

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        """Later times where key and version stand."""
        await self._answer(self._lanes.write, statements.touch, records)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Remove records; returns the keys of those that were there."""
        return await self._answer(self._lanes.write, statements.remove, keys)

    async def find_by_user(self, user_id: str, /) -> Sequence[SessionRecord]:
        """All records of a user, newest first."""
        return await self._answer(self._lanes.read, statements.find_by_user, user_id)

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """The records that have these handles."""
        return await self._answer(self._lanes.read, statements.find_by_handle, handles)

    async def page(self, after: SessionRecord | None, limit: int, /) -> Sequence[SessionRecord]:
        """The next *limit* records by expiry, then by key."""
        return await self._answer(self._lanes.read, statements.page, after, limit)

    async def count(self, after: int = 0, /) -> int:
        """How many records expire after a moment."""
        return await self._answer(self._lanes.read, statements.count, after)

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* expired records."""
        return await self._answer(self._lanes.write, statements.purge, now, limit)

    async def aclose(self) -> None:
        """Close the connections, and the threads they live in."""
        await self._lanes.aclose()

    async def _answer(self, lane: Callable[..., Any], statement: Callable[..., R], *args: Any) -> R:
        try:
            result: R = await lane(statement, *args)
        except IntegrityError as error:
            raise _Taken(f"the session store refused: {_cause(error)}") from error
        except TimeoutError as error:
            raise StoreTimeout("the session store failed: it did not answer in time") from error
        except (OperationalError, InterfaceError, OSError) as error:
            kind = StoreTimeout if "database is locked" in str(error) else StoreUnavailable
            raise kind(f"the session store failed: {_cause(error)}") from error
        except DBAPIError as error:
            unknown = StoreUnavailable if error.connection_invalidated else StoreError
            raise unknown(f"the session store failed: {_cause(error)}") from error
        return result


def _cause(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return str(cause).strip().partition("\n")[0]


class _Taken(StoreError):
    """A constraint was broken: as good as always, a key that was to be new stands already."""
