"""The database's schema: which one it has, which one this code needs, and the way between."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from alembic import command, context
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, inspect, select

from hello_tornado import resource
from hello_tornado.accounts.tables import metadata as accounts_metadata
from hello_tornado.database.connection import connected, transaction
from hello_tornado.problem import Missing, Problem
from hello_tornado.sessions.stores.sql.creation import make
from hello_tornado.sessions.stores.sql.names import TableName
from hello_tornado.sessions.stores.sql.schema import in_schema, sessions_table
from hello_tornado.sessions.stores.sql.sqlite import make_private_file
from hello_tornado.sessions.stores.sql.url import parse, table_of


def tables_of(name: TableName, *, accounts: bool) -> MetaData:
    """The tables as the code describes them: of sessions under this name, and of accounts."""
    described = sessions_table(name).metadata
    if accounts:
        for table in in_schema(accounts_metadata, name.schema).sorted_tables:
            table.to_metadata(described)
    return described


@dataclass(frozen=True, slots=True)
class Schema:
    """Where a database stands: its revision, ours, and whether we know its revision at all.

    *foreign* says why its table of sessions is none of ours, if that is so. Accounts may be needed
    of which there are no tables.
    """

    current: str | None
    head: str
    is_known: bool
    foreign: str | None = None
    lacks_accounts: bool = False

    @property
    def is_current(self) -> bool:
        """Whether this code can serve on it."""
        return self.current == self.head and not self.lacks_accounts

    def check(self) -> None:
        """Raise `Problem`, naming the command, unless this code can serve on it."""
        if self.is_current:
            return
        if self.foreign:
            raise Problem(
                self.foreign,
                "name another database in store.url, or another table by ?table=app_sessions",
            )
        if not self.is_known:
            raise Problem(
                f"the database has the schema {self.current}, which is newer than this program's "
                f"{self.head}",
                "start the newer program, or restore the backup from before its upgrade",
            )
        found = f"the schema {self.current}" if self.current else "no schema"
        raise Problem(
            "the database has no tables for accounts"
            if self.current == self.head
            else f"the database has {found}, this program needs {self.head}",
            "run: python -m hello_tornado db upgrade",
        )


def state(url: str, *, accounts: bool = False) -> Schema:
    """Where the database stands; looking changes nothing, and makes no file.

    With *accounts* their tables are needed, too.
    """
    if _missing_file(url) is not None:
        return Schema(None, _head(), is_known=True)
    with connected(url, to_look=True) as connection:
        return schema_of(connection, table_of(url), accounts=accounts)


def upgrade(url: str, revision: str = "head", *, accounts: bool = False) -> Path | None:
    """Bring the schema up to *revision*; returns the backup, if there was data to back up.

    Tables that the library has made by itself, or that an upgrade has left half-made, are taken
    over: every step of a migration can be repeated. With *accounts* their tables are made, too.
    """
    name = table_of(url)
    with transaction(url) as connection:
        before, backup = schema_of(connection, name), None
        if before.foreign or not before.is_known:
            before.check()
        if before.current != (before.head if revision == "head" else revision):
            backup = _back_up(connection, name, before.current)
            _run(command.upgrade, connection, name, revision)
        if accounts and revision in {"head", before.head}:
            make(connection, in_schema(accounts_metadata, name.schema))
        return backup


def downgrade(url: str, revision: str) -> Path | None:
    """Take the schema back to *revision* ("base": no tables at all); returns the backup."""
    if (path := _missing_file(url)) is not None:
        raise Missing(f"there is no database {path}", "set store.url to the one that is meant")
    if state(url).current is None:
        raise Missing(
            "the database has no schema of ours, and so there is nothing to take back",
            "set store.url to the one that is meant",
        )
    name = table_of(url)
    with transaction(url) as connection:
        before = schema_of(connection, name)
        if not before.is_known:
            before.check()
        backup = _back_up(connection, name, before.current)
        _run(command.downgrade, connection, name, revision)
        return backup


def differences(url: str, *, accounts: bool = False) -> list[Any]:
    """In what the database's tables differ from the ones that the code describes."""
    with connected(url, to_look=True) as connection:
        return _compared(connection, table_of(url), accounts=accounts)


def columns(url: str, table: str) -> set[str]:
    """The names of a table's columns; none if there is no such table. Looking changes nothing."""
    schema = table_of(url).schema
    with connected(url, to_look=True) as connection:
        inspector = inspect(connection)
        is_there = inspector.has_table(table, schema)
        found = inspector.get_columns(table, schema) if is_there else []
        return {column["name"] for column in found}


def _compared(connection: Connection, name: TableName, *, accounts: bool) -> list[Any]:
    if name.schema == connection.dialect.default_schema_name:
        name = name._replace(schema=None)  # as Alembic calls the schema of the connection
    tables = tables_of(name, accounts=accounts)
    context = MigrationContext.configure(connection, opts=_options(name, tables))
    return list(compare_metadata(context, tables))


def _missing_file(url: str) -> Path | None:
    """The file of a SQLite database that is not there."""
    parsed = parse(url)
    path = Path(str(parsed.database))
    return path if parsed.get_backend_name() == "sqlite" and not path.exists() else None


def run_migrations(connection: Connection, name: TableName) -> None:
    """Called by migrations/env.py inside Alembic.

    The migrations read the *name* of the table, and whether another one uses the same accounts.
    """
    tables = tables_of(name, accounts=_has_accounts(connection, name.schema))
    context.configure(
        connection=connection,
        target_metadata=tables,
        render_as_batch=True,
        table_name=name,
        shares_accounts=_shares_accounts(connection, name),
        **_options(name, tables),
    )
    with context.begin_transaction():
        context.run_migrations()


def _config(connection: Connection, name: TableName) -> Config:
    config = Config()
    config.set_main_option("script_location", str(resource("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["name"] = name
    return config


def _options(name: TableName, tables: MetaData) -> dict[str, Any]:
    """Where Alembic finds these tables, and the revision that they have."""
    return {
        "version_table": name.version_table,
        "version_table_schema": name.schema,
        "include_schemas": name.schema is not None,
        "include_name": partial(_is_one_of, {table.name for table in tables.sorted_tables}, name),
        "compare_type": True,
    }


def _is_one_of(tables: set[str], ours: TableName, name: str | None, kind: str, _: object) -> bool:
    """Whatever else lives in the database is none of our business."""
    if kind == "schema":
        return name == ours.schema
    return kind != "table" or name in tables


def _has_accounts(connection: Connection, schema: str | None) -> bool:
    inspector = inspect(connection)
    return all(inspector.has_table(name, schema) for name in accounts_metadata.tables)


def _shares_accounts(connection: Connection, name: TableName) -> bool:
    """Whether another table of sessions, with a history of its own, is in the same schema."""
    inspector = inspect(connection)
    names = {*inspector.get_table_names(name.schema)}
    others = {name._replace(table=table) for table in names} - {name}
    ours = {*sessions_table(name).columns.keys()}
    return any(
        {column["name"] for column in inspector.get_columns(one.table, name.schema)} == ours
        for one in others
        if one.version_table in names
    )


def schema_of(connection: Connection, name: TableName, *, accounts: bool = False) -> Schema:
    """Where the database stands that a connection leads to; whether with the tables of accounts."""
    scripts = _scripts()
    options = {"version_table": name.version_table, "version_table_schema": name.schema}
    current = MigrationContext.configure(connection, opts=options).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is None:
        return Schema(None, _head(), is_known=True, foreign=_foreign(connection, name))
    lacks_accounts = accounts and not _has_accounts(connection, name.schema)
    return Schema(current, _head(), current in known, lacks_accounts=lacks_accounts)


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(resource("migrations")))


def _head() -> str:
    return str(_scripts().get_current_head())


def _run(
    operation: Callable[[Config, str], None],
    connection: Connection,
    name: TableName,
    revision: str,
) -> None:
    try:
        operation(_config(connection, name), revision)
    except CommandError as error:
        raise Problem(
            f"Alembic refuses: {error}",
            "name a revision of the schema; this program knows "
            + ", ".join(reversed([script.revision for script in _scripts().walk_revisions()])),
        ) from error


def _foreign(connection: Connection, name: TableName) -> str | None:
    """Why a table of sessions that no migration has made is not ours, if it is not."""
    if not inspect(connection).has_table(name.table, name.schema):
        return None
    found = _compared(connection, name, accounts=False)
    # A list holds the changes of one column.
    changes = [one for change in found for one in (change if type(change) is list else [change])]
    foreign = [change for change in changes if change[0] not in {"add_index", "add_table"}]
    return f"there is a table {name.table} that is not ours: {foreign[0]}" if foreign else None


def _back_up(connection: Connection, name: TableName, current: str | None) -> Path | None:
    """A copy of a SQLite file beside it, when it holds sessions."""
    if connection.dialect.name != "sqlite" or not inspect(connection).has_table(name.table):
        return None
    if connection.execute(select(sessions_table(name).c.version).limit(1)).first() is None:
        return None
    source, version = Path(str(connection.engine.url.database)), current or "unversioned"
    backup = next(
        path
        for number in count(1)
        if not (path := source.with_name(f"{source.name}.{version}.backup{number}")).exists()
    )
    make_private_file(backup)
    with sqlite3.connect(source) as reading, sqlite3.connect(backup) as writing:
        reading.backup(writing)
    reading.close()
    writing.close()
    return backup
