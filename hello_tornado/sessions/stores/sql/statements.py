"""The statements on a sessions table, as functions of a SQLAlchemy connection."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    Connection,
    Delete,
    LargeBinary,
    Row,
    Select,
    Table,
    TextClause,
    Update,
    any_,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.engine import Dialect

from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import Listed, SessionFacts, SessionRecord
from hello_tornado.sessions.stores.sql.names import digest_of
from hello_tornado.sessions.stores.sql.schema import FOLDING, by_key
from hello_tornado.sessions.stores.sql.transactions import transaction

PURGE_LOCK: Final = 0x5E551046  # any number that is the same in all processes

BEFORE_ALL = (-(2**63), SessionKey(b""))


class Statements:
    """The statements on one table, for one kind of database.

    Each method that writes uses a separate transaction.
    """

    def __init__(self, table: Table, dialect: Dialect) -> None:
        columns, facts = table.c, _facts(table)
        keys: BindParameter[Any] = bindparam("keys", expanding=True)
        handles: BindParameter[Any] = bindparam("handles", expanding=True)
        is_one: ColumnElement[bool] = columns.key.in_(keys)
        chosen = select(columns.key).where(is_one)
        if dialect.name == "postgresql":  # it handles one array faster than many parameters
            is_one = columns.key == any_(bindparam("keys", type_=ARRAY(LargeBinary)))
        self._dialect = dialect
        self._load = select(table).where(is_one)
        self._touch = _touch(table)
        self._lock_keys = by_key(chosen, table).with_for_update()
        self._lock_free = by_key(chosen, table).with_for_update(skip_locked=True)
        self._delete = _delete(table, dialect)
        self._find_by_user = (
            select(*facts)
            .where(columns.user_id == bindparam("user_id"))
            .order_by(columns.created_at.desc(), columns.key)
        )
        self._find_by_handle = select(table).where(columns.handle.in_(handles))
        self._page = (
            select(*facts)
            .where(
                columns.expires_at >= bindparam("expires_at"),
                (columns.expires_at > bindparam("expires_at")) | (columns.key > bindparam("key")),
            )
            .order_by(columns.expires_at, columns.key)
            .limit(bindparam("limit"))
        )
        self._count = select(func.count()).where(columns.expires_at > bindparam("after"))
        self._expired = _expired(table)
        self._digest = digest_of(table, dialect)

    def load(
        self, connection: Connection, keys: Collection[SessionKey]
    ) -> Mapping[SessionKey, SessionRecord]:
        """Return the records under these keys."""
        rows = connection.execute(self._load, {"keys": list(keys)})
        return {record.key: record for record in map(_record, rows)}

    def touch(self, connection: Connection, records: Iterable[SessionRecord]) -> None:
        """Write later times to records whose key and version match."""
        ordered = sorted(records, key=lambda record: record.key)
        if ordered:
            with transaction(connection):
                connection.execute(self._touch, [_old(one) | _times(one) for one in ordered])

    def touch_free(self, connection: Connection, records: Collection[SessionRecord]) -> None:
        """Do the same without the locked rows, whose times are set by the save that locks them."""
        with transaction(connection):
            keys = {"keys": sorted(record.key for record in records)}
            free = {bytes(key) for key in connection.execute(self._lock_free, keys).scalars()}
            if rows := [_old(one) | _times(one) for one in records if one.key in free]:
                connection.execute(self._touch, rows)

    def remove(
        self, connection: Connection, keys: Collection[SessionKey]
    ) -> Collection[SessionKey]:
        """Delete records; return the keys of those that existed."""
        with transaction(connection):
            there = connection.execute(self._lock_keys, {"keys": sorted(keys)}).scalars().all()
            if there:
                connection.execute(self._delete, {"keys": there})
        return {SessionKey(bytes(key)) for key in there}

    def find_by_user(self, connection: Connection, user_id: str) -> Sequence[SessionFacts]:
        """Return all records of a user, newest first, without their data."""
        rows = connection.execute(self._find_by_user, {"user_id": user_id})
        return [SessionFacts._make(row) for row in rows]

    def find_by_handle(
        self, connection: Connection, handles: Collection[str]
    ) -> Sequence[SessionRecord]:
        """Return the records that have these handles."""
        rows = connection.execute(self._find_by_handle, {"handles": list(handles)})
        return [_record(row) for row in rows]

    def page(
        self, connection: Connection, after: Listed | None, limit: int
    ) -> Sequence[SessionFacts]:
        """Return the next *limit* records by expiry, then by key, without their data."""
        start = (after.expires_at, after.key) if after else BEFORE_ALL
        values = {"expires_at": start[0], "key": start[1], "limit": limit}
        return [SessionFacts._make(row) for row in connection.execute(self._page, values)]

    def count(self, connection: Connection, after: int) -> int:
        """Return how many records expire after a moment."""
        return connection.execute(self._count, {"after": after}).scalar_one()

    def purge(self, connection: Connection, now: int, limit: int) -> int:
        """Delete up to *limit* expired records, oldest first; return how many.

        Returns 0 if another process is purging this table.
        """
        with self._alone(connection) as is_alone:
            return self._purge(connection, now, limit) if is_alone else 0

    @contextmanager
    def _alone(self, connection: Connection) -> Iterator[bool]:
        """Run the block in a transaction; yield whether no other process purges this table.

        On SQLite a transaction already guarantees that. On MariaDB the lock is released after the
        transaction, because nothing can be done in one that was rolled back. On a Galera cluster
        the lock covers one node only; processes that use two nodes purge concurrently.
        """
        match self._dialect.name:
            case "postgresql":
                with transaction(connection):
                    table = func.hashtext(self._digest)
                    lock = func.pg_try_advisory_xact_lock(PURGE_LOCK, table)
                    yield connection.execute(select(lock)).scalar_one()
            case "mysql" | "mariadb":
                name: ColumnElement[str] = func.concat(f"{PURGE_LOCK} ", self._digest)
                is_alone = connection.execute(select(func.get_lock(name, 0))).scalar_one() == 1
                try:
                    with transaction(connection):
                        yield is_alone
                finally:
                    if is_alone:  # otherwise the lock would be kept as long as the connection
                        connection.execute(select(func.release_lock(name)))
            case _:
                with transaction(connection):
                    yield True

    def _purge(self, connection: Connection, now: int, limit: int) -> int:
        now = min(now, _clock(connection))
        values = {"now": now, "limit": limit}
        expired = connection.execute(self._expired, values).scalars().all()
        if not expired:
            return 0
        # These rows are locked, so they have not been touched since.
        return connection.execute(self._delete, {"keys": expired}).rowcount


def _facts(table: Table) -> list[ColumnElement[Any]]:
    return [
        func.length(column).label("size") if column is table.c.data else column
        for column in table.c
    ]


def _touch(table: Table) -> Update:
    columns = table.c
    return (
        update(table)
        .where(
            columns.key == bindparam("old_key"),
            columns.version == bindparam("old_version"),
            columns.accessed_at < bindparam("new_accessed_at"),
            columns.expires_at <= bindparam("new_expires_at"),
        )
        .values(accessed_at=bindparam("new_accessed_at"), expires_at=bindparam("new_expires_at"))
    )


def _expired(table: Table) -> Select[Any]:
    columns = table.c
    return (
        select(columns.key)
        .where(columns.expires_at > 0, columns.expires_at <= bindparam("now"))
        .order_by(columns.expires_at)
        .limit(bindparam("limit"))
        .with_for_update(skip_locked=True)
    )


def _delete(table: Table, dialect: Dialect) -> Delete | TextClause:
    """Return a DELETE by keys; for MariaDB, with the hint to use the primary key."""
    keys: BindParameter[Any] = bindparam("keys", expanding=True)
    if dialect.name not in FOLDING:
        return delete(table).where(table.c.key.in_(keys))
    name = dialect.identifier_preparer.format_table(table)
    return text(
        f"DELETE old FROM {name} AS old FORCE INDEX (PRIMARY) WHERE old.`key` IN :keys"
    ).bindparams(keys)


def _clock(connection: Connection) -> int:
    """Return the present moment by the clock of the database, which all processes share."""
    match connection.dialect.name:
        case "postgresql":
            query = "SELECT (extract(epoch from clock_timestamp()) * 1000000)::bigint"
        case "mysql" | "mariadb":
            query = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
        case _:
            return time.time_ns() // 1_000  # all processes are on the same machine
    return int(connection.exec_driver_sql(query).scalar_one())


def _record(row: Row[Any]) -> SessionRecord:
    return SessionRecord._make(row)  # the columns are the record's fields, in their order


def _times(record: SessionRecord) -> dict[str, Any]:
    return {"new_accessed_at": record.accessed_at, "new_expires_at": record.expires_at}


def _old(record: SessionRecord) -> dict[str, Any]:
    return {"old_key": record.key, "old_version": record.version}
