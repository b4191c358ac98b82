"""A SQL database as we use one: functions of a connection, run where they block nobody."""

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import Connection, MetaData
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
from hello_tornado.sessions.stores import without_password
from hello_tornado.sessions.stores.held import HeldLanes
from hello_tornado.sessions.stores.sql_url import target_of
from hello_tornado.sessions.stores.sqlite import SqliteLanes

P = ParamSpec("P")
R = TypeVar("R")


class Lanes(Protocol):
    """How a kind of database is driven: where functions of a connection run."""

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function* on a connection in AUTOCOMMIT."""

    async def survey(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The same on another connection, so that no `read` waits for what takes its time."""

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function*, which begins and ends its own transaction."""

    async def aclose(self) -> None:
        """Close every connection."""


class Taken(StoreError):
    """A constraint was broken: as good as always, a key that was to be new stands already."""


class SqlDatabase:
    """One database; `from_url` opens it. What goes wrong is a `StoreError`."""

    def __init__(self, lanes: Lanes, name: str) -> None:
        self.lanes = lanes
        self._name = name

    def __str__(self) -> str:
        return self._name

    @classmethod
    def from_url(cls, text: str, metadata: MetaData) -> "SqlDatabase":
        """The database of a SQLAlchemy URL, in its everyday form or with a driver.

        In a SQLite file the tables of *metadata* are made when they are missing.
        """
        target = target_of(text)
        name = without_password(target.url.render_as_string())
        try:
            if target.url.get_backend_name() == "sqlite":
                return cls(SqliteLanes(target.url, metadata), name)
            return cls(HeldLanes(target), name)
        except ArgumentError as error:
            raise ConfigurationError(f"the store's URL cannot be used: {error}") from None

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function*, which only reads."""
        return await self._answer(self.lanes.read, function, *args, **kwargs)

    async def survey(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function*, which reads a lot; nobody else waits for it."""
        return await self._answer(self.lanes.survey, function, *args, **kwargs)

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function*, which may write."""
        return await self._answer(self.lanes.write, function, *args, **kwargs)

    async def aclose(self) -> None:
        """Close the connections, and the threads they live in."""
        await self.lanes.aclose()

    async def _answer(
        self, lane: Callable[..., Any], function: Callable[..., R], *args: Any, **kwargs: Any
    ) -> R:
        try:
            result: R = await lane(function, *args, **kwargs)
        except IntegrityError as error:
            raise Taken(f"the session store refused: {_cause(error)}") from error
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
