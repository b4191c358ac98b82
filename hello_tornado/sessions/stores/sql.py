"""Sessions in a SQL database: plain functions over a SQLAlchemy connection, the same for all.

The statements use no upsert: a create is an INSERT, a save an UPDATE of exactly one version of
exactly one row, so that nothing which has ended can come back.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    TypeDecorator,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
)
from sqlalchemy.types import TypeEngine

from hello_tornado.sessions.errors import ConfigurationError, StoreError, StoreUnavailable
from hello_tornado.sessions.ids import SessionKey
from hello_tornado.sessions.record import Conflict, Gone, Outcome, Saved, SessionRecord, Swap
from hello_tornado.sessions.stores import without_password
from hello_tornado.sessions.stores.held import HeldLanes
from hello_tornado.sessions.stores.sql_url import target_of
from hello_tornado.sessions.stores.sqlite import SqliteLanes

FOLDING = ("mysql", "mariadb")
PURGE_LOCK = 7_403_117_052  # any number, as long as every process takes the same

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}
)


class ExactText(TypeDecorator[str]):
    """Text that equals only itself. MariaDB's collations fold case, accents or trailing blanks."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Bytes on MariaDB and MySQL: four for each of 255 characters at most."""
        if dialect.name in FOLDING:
            return dialect.type_descriptor(mysql.VARBINARY(1020))
        return dialect.type_descriptor(self.impl_instance)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """What the database gets."""
        return value.encode() if value is not None and dialect.name in FOLDING else value

    def process_result_value(self, value: Any, _dialect: Dialect) -> str | None:
        """What it gave."""
        return bytes(value).decode() if isinstance(value, bytes | bytearray) else value


sessions = Table(
    "sessions",
    metadata,
    Column(
        "key",
        LargeBinary(32).with_variant(mysql.BINARY(32), *FOLDING),
        primary_key=True,
    ),
    Column("handle", String(32), nullable=False),
    Column("version", Integer, nullable=False),
    Column("user_id", ExactText(255)),
    Column("data", LargeBinary().with_variant(mysql.LONGBLOB(), *FOLDING), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("accessed_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index(None, "expires_at"),
    Index(None, "user_id"),
    Index(None, "handle"),
)

LOAD = select(sessions).where(sessions.c.key.in_(bindparam("keys", expanding=True)))
LOCK_VERSIONS = (
    select(sessions.c.key, sessions.c.version)
    .where(sessions.c.key.in_(bindparam("keys", expanding=True)))
    .with_for_update()
)
CREATE = insert(sessions)
SAVE = (
    update(sessions)
    .where(sessions.c.key == bindparam("old_key"), sessions.c.version == bindparam("old_version"))
    .values({column.name: bindparam(f"new_{column.name}") for column in sessions.c})
)
TOUCH = (
    update(sessions)
    .where(
        sessions.c.key == bindparam("old_key"),
        sessions.c.version == bindparam("old_version"),
        sessions.c.accessed_at < bindparam("new_accessed_at"),
        sessions.c.expires_at <= bindparam("new_expires_at"),
    )
    .values(accessed_at=bindparam("new_accessed_at"), expires_at=bindparam("new_expires_at"))
)
LOCK_KEYS = (
    select(sessions.c.key)
    .where(sessions.c.key.in_(bindparam("keys", expanding=True)))
    .with_for_update()
)
DELETE = delete(sessions).where(sessions.c.key.in_(bindparam("keys", expanding=True)))
FIND_BY_USER = (
    select(sessions)
    .where(sessions.c.user_id == bindparam("user_id"))
    .order_by(sessions.c.created_at.desc(), sessions.c.key)
)
FIND_BY_HANDLE = select(sessions).where(sessions.c.handle.in_(bindparam("handles", expanding=True)))
PAGE = (
    select(sessions)
    .where(
        sessions.c.expires_at >= bindparam("expires_at"),
        (sessions.c.expires_at > bindparam("expires_at")) | (sessions.c.key > bindparam("key")),
    )
    .order_by(sessions.c.expires_at, sessions.c.key)
    .limit(bindparam("limit"))
)
COUNT = select(func.count()).where(sessions.c.expires_at > bindparam("after"))
EXPIRED = (
    select(sessions.c.key)
    .where(sessions.c.expires_at <= bindparam("now"))
    .order_by(sessions.c.expires_at)
    .limit(bindparam("limit"))
)
PURGE = delete(sessions).where(
    sessions.c.key.in_(bindparam("keys", expanding=True)),
    sessions.c.expires_at <= bindparam("now"),
)

BEFORE_ALL = (-(2**63), SessionKey(b""))

P = ParamSpec("P")
R = TypeVar("R")


def load(
    connection: Connection, keys: Collection[SessionKey]
) -> Mapping[SessionKey, SessionRecord]:
    """The records under these keys."""
    rows = connection.execute(LOAD, {"keys": list(keys)})
    return {record.key: record for record in map(_record, rows)}


def save(connection: Connection, swaps: Sequence[Swap]) -> Sequence[Outcome]:
    """All swaps in one transaction; `IntegrityError` when a new key is already taken."""
    changes = [(old, new) for old, new in swaps if old is not None]
    standing: dict[SessionKey, int] = {}
    if changes:
        rows = connection.execute(LOCK_VERSIONS, {"keys": sorted(old.key for old, _ in changes)})
        standing = {SessionKey(bytes(key)): version for key, version in rows}
    winners = [(old, new) for old, new in changes if standing.get(old.key) == old.version]
    creates = [new for old, new in swaps if old is None]
    if winners:
        connection.execute(SAVE, [_new(new) | _old(old) for old, new in winners])
    if creates:
        connection.execute(CREATE, [_columns(new) for new in creates])
    losers = [old.key for old, _ in changes if standing.get(old.key, old.version) != old.version]
    current = load(connection, losers) if losers else {}

    def outcome(swap: Swap) -> Outcome:
        if swap.old is None:
            return Saved()
        if swap.old.key in current:
            return Conflict(current[swap.old.key])
        return Saved() if swap.old.key in standing else Gone()

    return [outcome(swap) for swap in swaps]


def touch(connection: Connection, records: Iterable[SessionRecord]) -> None:
    """Later times where key and version stand."""
    ordered = sorted(records, key=lambda record: record.key)
    if ordered:
        connection.execute(TOUCH, [_old(record) | _times(record) for record in ordered])


def remove(connection: Connection, keys: Collection[SessionKey]) -> Collection[SessionKey]:
    """Delete records; returns the keys of those that were there."""
    there = connection.execute(LOCK_KEYS, {"keys": sorted(keys)}).scalars().all()
    if there:
        connection.execute(DELETE, {"keys": there})
    return {SessionKey(bytes(key)) for key in there}


def find_by_user(connection: Connection, user_id: str) -> Sequence[SessionRecord]:
    """All records of a user, newest first."""
    return [_record(row) for row in connection.execute(FIND_BY_USER, {"user_id": user_id})]


def find_by_handle(connection: Connection, handles: Collection[str]) -> Sequence[SessionRecord]:
    """The records that have these handles."""
    rows = connection.execute(FIND_BY_HANDLE, {"handles": list(handles)})
    return [_record(row) for row in rows]


def page(
    connection: Connection, after: SessionRecord | None, limit: int
) -> Sequence[SessionRecord]:
    """The next *limit* records by expiry, then by key."""
    start = (after.expires_at, after.key) if after else BEFORE_ALL
    values = {"expires_at": start[0], "key": start[1], "limit": limit}
    return [_record(row) for row in connection.execute(PAGE, values)]


def count(connection: Connection, after: int) -> int:
    """How many records expire after a moment."""
    return connection.execute(COUNT, {"after": after}).scalar_one()


def purge(connection: Connection, now: int, limit: int) -> int:
    """Delete up to *limit* expired records, the longest expired first; 0 while another does."""
    with _alone(connection) as is_alone:
        return _purge(connection, now, limit) if is_alone else 0


@contextmanager
def _alone(connection: Connection) -> Iterator[bool]:
    """Whether no other process purges; SQLite's write lock says so already."""
    match connection.dialect.name:
        case "postgresql":
            lock = f"SELECT pg_try_advisory_xact_lock({PURGE_LOCK})"
            yield connection.exec_driver_sql(lock).scalar_one()
        case "mysql" | "mariadb":
            name = f"CONCAT('{PURGE_LOCK} ', DATABASE())"
            is_alone = connection.exec_driver_sql(f"SELECT GET_LOCK({name}, 0)").scalar_one() == 1
            yield is_alone
            if is_alone:
                connection.exec_driver_sql(f"SELECT RELEASE_LOCK({name})")
        case _:
            yield True


def _purge(connection: Connection, now: int, limit: int) -> int:
    expired = connection.execute(EXPIRED, {"now": now, "limit": limit}).scalars().all()
    if not expired:
        return 0
    return connection.execute(PURGE, {"keys": expired, "now": now}).rowcount


def _record(row: Row[Any]) -> SessionRecord:
    return SessionRecord(**row._mapping)  # the columns are the record's fields, by name


def _columns(record: SessionRecord) -> dict[str, Any]:
    return {column.name: getattr(record, column.name) for column in sessions.c}


def _new(record: SessionRecord) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in _columns(record).items()}


def _times(record: SessionRecord) -> dict[str, Any]:
    return {"new_accessed_at": record.accessed_at, "new_expires_at": record.expires_at}


def _old(record: SessionRecord) -> dict[str, Any]:
    return {"old_key": record.key, "old_version": record.version}


class Lanes(Protocol):
    """How a kind of database is driven: where the functions above run."""

    async def read(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function* on a connection in AUTOCOMMIT."""

    async def write(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """The result of *function* in a transaction, once that is durable."""

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
        return await self._answer(self._lanes.read, load, keys)

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
        await self._answer(self._lanes.write, touch, records)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        """Remove records; returns the keys of those that were there."""
        return await self._answer(self._lanes.write, remove, keys)

    async def find_by_user(self, user_id: str, /) -> Sequence[SessionRecord]:
        """All records of a user, newest first."""
        return await self._answer(self._lanes.read, find_by_user, user_id)

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        """The records that have these handles."""
        return await self._answer(self._lanes.read, find_by_handle, handles)

    async def page(self, after: SessionRecord | None, limit: int, /) -> Sequence[SessionRecord]:
        """The next *limit* records by expiry, then by key."""
        return await self._answer(self._lanes.read, page, after, limit)

    async def count(self, after: int = 0, /) -> int:
        """How many records expire after a moment."""
        return await self._answer(self._lanes.read, count, after)

    async def purge(self, now: int, limit: int, /) -> int:
        """Delete up to *limit* expired records."""
        return await self._answer(self._lanes.write, purge, now, limit)

    async def aclose(self) -> None:
        """Close the connections, and the threads they live in."""
        await self._lanes.aclose()

    async def _answer(self, lane: Callable[..., Any], statement: Callable[..., R], *args: Any) -> R:
        try:
            result: R = await lane(statement, *args)
        except IntegrityError as error:
            raise _Taken(f"the session store refused: {_cause(error)}") from error
        except (OperationalError, InterfaceError, OSError) as error:
            raise StoreUnavailable(f"the session store failed: {_cause(error)}") from error
        except DBAPIError as error:
            unknown = StoreUnavailable if error.connection_invalidated else StoreError
            raise unknown(f"the session store failed: {_cause(error)}") from error
        return result


def _cause(error: Exception) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, TimeoutError):
        return "it did not answer in time"
    return str(cause).strip().partition("\n")[0]


class _Taken(StoreError):
    """A constraint was broken: as good as always, a key that was to be new stands already."""
