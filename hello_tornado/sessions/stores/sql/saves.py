"""Writes several swaps at once; on databases that return the changed rows, in one statement.

There is no upsert. A new session is an INSERT, and a change is an UPDATE of exactly one version of
exactly one row, so that a session that has ended cannot come back. Rows are locked in the order of
their keys; otherwise two processes could wait for each other.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    Connection,
    Integer,
    LargeBinary,
    Select,
    Table,
    Text,
    TextClause,
    bindparam,
    insert,
    select,
    text,
)
from sqlalchemy.engine import Dialect

from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import (
    AGAIN,
    Conflict,
    Gone,
    Outcome,
    Saved,
    SessionRecord,
    Swap,
)
from hello_tornado.sessions.stores.sql.schema import FOLDING, by_key
from hello_tornado.sessions.stores.sql.statements import Statements
from hello_tornado.sessions.stores.sql.transactions import transaction

COLUMNS = SessionRecord._fields  # the columns in schema.py have the same names and order

SAVE_AT_ONCE = """
    WITH new AS (
        SELECT * FROM unnest(
            :old_key, :old_version, :key, :handle, :version, :user_id, :data,
            :created_at, :accessed_at, :expires_at
        ) AS new(
            old_key, old_version, key, handle, version, user_id, data,
            created_at, accessed_at, expires_at
        )
    ), created AS (
        INSERT INTO {table}
            (key, handle, version, user_id, data, created_at, accessed_at, expires_at)
        SELECT key, handle, version, user_id, data, created_at, accessed_at, expires_at
        FROM new WHERE old_key IS NULL
    ), standing AS (
        SELECT sessions.key FROM {table} AS sessions JOIN new ON sessions.key = new.old_key
        ORDER BY sessions.key FOR UPDATE OF sessions {wait}
    )
    UPDATE {table} AS sessions SET
        key = new.key, handle = new.handle, version = new.version, user_id = new.user_id,
        data = new.data, created_at = new.created_at, accessed_at = new.accessed_at,
        expires_at = new.expires_at
    FROM new JOIN standing ON standing.key = new.old_key
    WHERE sessions.key = standing.key AND sessions.version = new.old_version
    RETURNING new.old_key
"""
PARAMETERS: tuple[BindParameter[Any], ...] = (
    *(bindparam(name, type_=ARRAY(LargeBinary)) for name in ("old_key", "key", "data")),
    *(bindparam(name, type_=ARRAY(Text)) for name in ("handle", "user_id")),
    *(bindparam(name, type_=ARRAY(Integer)) for name in ("old_version", "version")),
    *(
        bindparam(name, type_=ARRAY(BigInteger))
        for name in ("created_at", "accessed_at", "expires_at")
    ),
)


class Saves:
    """The statements that save swaps in one table, for one kind of database."""

    def __init__(self, table: Table, statements: Statements, dialect: Dialect) -> None:
        keys: BindParameter[Any] = bindparam("keys", expanding=True)
        versions = select(table.c.key, table.c.version).where(table.c.key.in_(keys))
        name = dialect.identifier_preparer.format_table(table)
        self._load = statements.load
        self._dialect = dialect
        self._lock_rows = by_key(versions, table).with_for_update()
        self._lock_free = by_key(versions, table).with_for_update(skip_locked=True)
        self._create_rows = insert(table)
        self._update_row = (  # for the driver of SQLite, which accepts records as rows
            f"UPDATE {name} SET {', '.join(f'{name} = ?' for name in COLUMNS)} "  # noqa: S608
            "WHERE key = ? AND version = ?"
        )
        self._update_rows = lru_cache(maxsize=256)(partial(_joined_update, name))
        self._at_once, self._free_at_once = (
            text(SAVE_AT_ONCE.format(table=name, wait=wait)).bindparams(*PARAMETERS)
            for wait in ("", "SKIP LOCKED")
        )

    def save(self, connection: Connection, swaps: Sequence[Swap]) -> Sequence[Outcome]:
        """Return one outcome for each swap.

        Raises `IntegrityError`, with nothing written, if the key of a new record already exists.
        """
        if self._dialect.name == "postgresql":
            return self._save_at_once(connection, swaps, self._at_once)
        try:
            self._save_all(connection, swaps)
        except _SomeLost:
            with transaction(connection):
                return self._save_those_that_stand(connection, swaps, self._lock_rows)
        return [Saved()] * len(swaps)

    def save_free(self, connection: Connection, swaps: Sequence[Swap]) -> Sequence[Outcome]:
        """Do the same as `save` without waiting for locked rows; their outcome is `AGAIN`."""
        if self._dialect.name == "postgresql":
            outcomes = self._save_at_once(connection, swaps, self._free_at_once)
        else:
            with transaction(connection):
                outcomes = self._save_those_that_stand(connection, swaps, self._lock_free)
        return [
            # The row was not changed although it still has the old version, so it was locked.
            AGAIN
            if isinstance(outcome, Conflict) and old is not None and _stands(old, outcome.current)
            else outcome
            for (old, _), outcome in zip(swaps, outcomes, strict=True)
        ]

    def _save_at_once(
        self, connection: Connection, swaps: Sequence[Swap], statement: TextClause
    ) -> Sequence[Outcome]:
        values: dict[str, list[Any]] = {
            name: [new[place] for _, new in swaps] for place, name in enumerate(COLUMNS)
        }
        values["old_key"] = [old and old.key for old, _ in swaps]
        values["old_version"] = [old and old.version for old, _ in swaps]
        saved = {bytes(key) for key in connection.execute(statement, values).scalars()}
        losers = [old.key for old, _ in swaps if old is not None and old.key not in saved]
        return _outcomes(swaps, losers, self._load(connection, losers) if losers else {})

    def _save_all(self, connection: Connection, swaps: Sequence[Swap]) -> None:
        changes = [(old, new) for old, new in swaps if old is not None]
        with transaction(connection) if len(swaps) > 1 else nullcontext():
            if changes and self._update(connection, changes) < len(changes):
                raise _SomeLost
            self._create(connection, swaps)

    def _save_those_that_stand(
        self, connection: Connection, swaps: Sequence[Swap], lock: Select[Any]
    ) -> Sequence[Outcome]:
        changes = [(old, new) for old, new in swaps if old is not None]
        rows = connection.execute(lock, {"keys": sorted(old.key for old, _ in changes)})
        standing = {bytes(key): version for key, version in rows}
        if winners := [(old, new) for old, new in changes if standing.get(old.key) == old.version]:
            self._update(connection, winners)
        self._create(connection, swaps)
        losers = [old.key for old, _ in changes if standing.get(old.key) != old.version]
        return _outcomes(swaps, losers, self._load(connection, losers))

    def _create(self, connection: Connection, swaps: Sequence[Swap]) -> None:
        if creates := [new._asdict() for old, new in swaps if old is None]:
            connection.execute(self._create_rows, creates)

    def _update(
        self, connection: Connection, changes: Sequence[tuple[SessionRecord, SessionRecord]]
    ) -> int:
        """Update the rows that have the old version; return how many."""
        ordered = sorted(changes, key=lambda change: change[0].key)
        if self._dialect.name in FOLDING:  # their driver sends a statement for each row
            values = [
                _exact(value) for old, new in ordered for value in (old.key, old.version, *new)
            ]
            statement = self._update_rows(len(ordered))
            return connection.exec_driver_sql(statement, tuple(values)).rowcount
        rows = [(*new, old.key, old.version) for old, new in ordered]
        return connection.exec_driver_sql(self._update_row, rows).rowcount


def _stands(old: SessionRecord, current: SessionRecord) -> bool:
    return current.key == old.key and current.version == old.version


def _outcomes(
    swaps: Sequence[Swap],
    losers: Sequence[SessionKey],
    current: Mapping[SessionKey, SessionRecord],
) -> Sequence[Outcome]:
    lost = set(losers)

    def outcome(swap: Swap) -> Outcome:
        if swap.old is None or swap.old.key not in lost:
            return Saved()
        found = current.get(swap.old.key)
        return Gone() if found is None else Conflict(found)

    return [outcome(swap) for swap in swaps]


def _exact(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _joined_update(table: str, count: int) -> str:
    """Return an UPDATE of *count* rows of a table (a quoted name) from that many rows of values."""
    names = ["old_key", "old_version", *COLUMNS]
    first = "SELECT " + ", ".join(f"%s AS `{name}`" for name in names)
    other = "SELECT " + ", ".join(["%s"] * len(names))
    rows = " UNION ALL ".join([first, *[other] * (count - 1)])
    assignments = ", ".join(f"sessions.`{name}` = new.`{name}`" for name in COLUMNS)
    return (
        f"UPDATE ({rows}) AS new STRAIGHT_JOIN {table} AS sessions "  # noqa: S608
        "ON sessions.`key` = new.old_key AND sessions.version = new.old_version "
        f"SET {assignments}"
    )


class _SomeLost(Exception):
    """Some rows do not have the old version; nothing was written."""
