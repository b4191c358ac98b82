"""What is asked of a SQL database, as plain functions over a SQLAlchemy connection.

What writes does so in a transaction of its own.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    ARRAY,
    Connection,
    LargeBinary,
    Row,
    any_,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)

from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import Listed, SessionFacts, SessionRecord
from hello_tornado.sessions.stores.sql.schema import FOLDING, by_key, sessions
from hello_tornado.sessions.stores.sql.transactions import transaction

PURGE_LOCK = 7_403_117_052  # any number, as long as every process takes the same

LOAD = select(sessions).where(sessions.c.key.in_(bindparam("keys", expanding=True)))
LOAD_BY_ARRAY = select(sessions).where(
    sessions.c.key == any_(bindparam("keys", type_=ARRAY(LargeBinary)))
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
KEYS = select(sessions.c.key).where(sessions.c.key.in_(bindparam("keys", expanding=True)))
LOCK_KEYS = by_key(KEYS).with_for_update()
LOCK_FREE_KEYS = by_key(KEYS).with_for_update(skip_locked=True)
DELETE = delete(sessions).where(sessions.c.key.in_(bindparam("keys", expanding=True)))
DELETE_BY_KEY = text(  # the same, as MariaDB has to be told
    "DELETE sessions FROM sessions FORCE INDEX (PRIMARY) WHERE `key` IN :keys"
).bindparams(bindparam("keys", expanding=True))
FACTS = [
    func.length(column).label("size") if column is sessions.c.data else column
    for column in sessions.c
]
FIND_BY_USER = (
    select(*FACTS)
    .where(sessions.c.user_id == bindparam("user_id"))
    .order_by(sessions.c.created_at.desc(), sessions.c.key)
)
FIND_BY_HANDLE = select(sessions).where(sessions.c.handle.in_(bindparam("handles", expanding=True)))
PAGE = (
    select(*FACTS)
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
    .where(sessions.c.expires_at > 0, sessions.c.expires_at <= bindparam("now"))
    .order_by(sessions.c.expires_at)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)

BEFORE_ALL = (-(2**63), SessionKey(b""))


def load(
    connection: Connection, keys: Collection[SessionKey]
) -> Mapping[SessionKey, SessionRecord]:
    """The records under these keys."""
    is_postgresql = connection.dialect.name == "postgresql"
    rows = connection.execute(LOAD_BY_ARRAY if is_postgresql else LOAD, {"keys": list(keys)})
    return {record.key: record for record in map(_record, rows)}


def touch(connection: Connection, records: Iterable[SessionRecord]) -> None:
    """Later times where key and version stand."""
    ordered = sorted(records, key=lambda record: record.key)
    if ordered:
        with transaction(connection):
            connection.execute(TOUCH, [_old(record) | _times(record) for record in ordered])


def touch_free(connection: Connection, records: Collection[SessionRecord]) -> None:
    """The same, without those rows that somebody holds: whoever writes one sets its times, too."""
    with transaction(connection):
        keys = {"keys": sorted(record.key for record in records)}
        free = {bytes(key) for key in connection.execute(LOCK_FREE_KEYS, keys).scalars()}
        if rows := [_old(record) | _times(record) for record in records if record.key in free]:
            connection.execute(TOUCH, rows)


def remove(connection: Connection, keys: Collection[SessionKey]) -> Collection[SessionKey]:
    """Delete records; returns the keys of those that were there."""
    with transaction(connection):
        there = connection.execute(LOCK_KEYS, {"keys": sorted(keys)}).scalars().all()
        if there:
            _delete(connection, there)
    return {SessionKey(bytes(key)) for key in there}


def find_by_user(connection: Connection, user_id: str) -> Sequence[SessionFacts]:
    """All records of a user, newest first, without their data."""
    rows = connection.execute(FIND_BY_USER, {"user_id": user_id})
    return [SessionFacts._make(row) for row in rows]


def find_by_handle(connection: Connection, handles: Collection[str]) -> Sequence[SessionRecord]:
    """The records that have these handles."""
    rows = connection.execute(FIND_BY_HANDLE, {"handles": list(handles)})
    return [_record(row) for row in rows]


def page(connection: Connection, after: Listed | None, limit: int) -> Sequence[SessionFacts]:
    """The next *limit* records by expiry, then by key, without their data."""
    start = (after.expires_at, after.key) if after else BEFORE_ALL
    values = {"expires_at": start[0], "key": start[1], "limit": limit}
    return [SessionFacts._make(row) for row in connection.execute(PAGE, values)]


def count(connection: Connection, after: int) -> int:
    """How many records expire after a moment."""
    return connection.execute(COUNT, {"after": after}).scalar_one()


def purge(connection: Connection, now: int, limit: int) -> int:
    """Delete up to *limit* expired records, the longest expired first; 0 while another does."""
    with _alone(connection) as is_alone:
        return _purge(connection, now, limit) if is_alone else 0


@contextmanager
def _alone(connection: Connection) -> Iterator[bool]:
    """A transaction; yields whether no other process purges. SQLite's transaction says so already.

    MariaDB's lock is given back after the transaction: within one that was taken back, nothing can
    be done. On a Galera cluster it holds for one node; processes at two nodes purge side by side.
    """
    match connection.dialect.name:
        case "postgresql":
            with transaction(connection):
                lock = f"SELECT pg_try_advisory_xact_lock({PURGE_LOCK})"
                yield connection.exec_driver_sql(lock).scalar_one()
        case "mysql" | "mariadb":
            name = f"CONCAT('{PURGE_LOCK} ', DATABASE())"
            is_alone = connection.exec_driver_sql(f"SELECT GET_LOCK({name}, 0)").scalar_one() == 1
            try:
                with transaction(connection):
                    yield is_alone
            finally:
                if is_alone:  # else it would be held as long as the connection
                    connection.exec_driver_sql(f"SELECT RELEASE_LOCK({name})")
        case _:
            with transaction(connection):
                yield True


def _purge(connection: Connection, now: int, limit: int) -> int:
    now = min(now, _clock(connection))
    expired = connection.execute(EXPIRED, {"now": now, "limit": limit}).scalars().all()
    if not expired:
        return 0
    return _delete(connection, expired)  # which we hold: nobody has touched them meanwhile


def _delete(connection: Connection, keys: Sequence[Any]) -> int:
    statement = DELETE_BY_KEY if connection.dialect.name in FOLDING else DELETE
    return connection.execute(statement, {"keys": keys}).rowcount


def _clock(connection: Connection) -> int:
    """The moment now, as the database knows it: no process may purge by a clock of its own."""
    match connection.dialect.name:
        case "postgresql":
            query = "SELECT (extract(epoch from clock_timestamp()) * 1000000)::bigint"
        case "mysql" | "mariadb":
            query = "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"
        case _:
            return time.time_ns() // 1_000  # a file has no clock, and its machine has one
    return int(connection.exec_driver_sql(query).scalar_one())


def _record(row: Row[Any]) -> SessionRecord:
    return SessionRecord._make(row)  # the columns are the record's fields, in their order


def _times(record: SessionRecord) -> dict[str, Any]:
    return {"new_accessed_at": record.accessed_at, "new_expires_at": record.expires_at}


def _old(record: SessionRecord) -> dict[str, Any]:
    return {"old_key": record.key, "old_version": record.version}
