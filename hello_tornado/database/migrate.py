"""Compares the schema of a database with the one that this code needs, and upgrades it."""

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
    """Return the tables that the code describes: that of sessions, and with *accounts* theirs."""
    described = sessions_table(name).metadata
    if accounts:
        for table in in_schema(accounts_metadata, name.schema).sorted_tables:
            table.to_metadata(described)
    return described


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a database.

    - `current`: its revision; None if it has none.
    - `head`: the revision that this code needs.
    - `is_known`: whether this code knows the revision `current`.
    - `foreign`: why the table of sessions is another program's; None if it is ours, or not there.
    - `lacks_accounts`: whether the tables of accounts are needed but missing.
    """

    current: str | None
    head: str
    is_known: bool
    foreign: str | None = None
    lacks_accounts: bool = False

    @property
    def is_current(self) -> bool:
        """Whether this code can use the database."""
        return self.current == self.head and not self.lacks_accounts

    def check(self) -> None:
        """Raise `Problem`, with the command to run, unless this code can use the database."""
        if self.is_current:
            return
        if self.foreign:
            raise Problem(
                self.foreign,
                "name another database in store.url, or another table with ?table=app_sessions",
            )
        if not self.is_known:
            raise Problem(
                f"the database has the schema {self.current}, which is newer than this program's "
                f"{self.head}",
                "start the newer program, or restore the backup made before its upgrade",
            )
        found = f"the schema {self.current}" if self.current else "no schema"
        raise Problem(
            "the database has no tables for accounts"
            if self.current == self.head
            else f"the database has {found}, this program needs {self.head}",
            "run: python -m hello_tornado db upgrade",
        )


def state(url: str, *, accounts: bool = False) -> Schema:
    """Return the schema of a database without changing it; a missing SQLite file is not made.

    With *accounts* (False) the tables of accounts are needed, too. Raises `Problem` when the
    database fails.
    """
    if _missing_file(url) is not None:
        return Schema(None, _head(), is_known=True)
    with connected(url, to_look=True) as connection:
        return schema_of(connection, table_of(url), accounts=accounts)


def upgrade(url: str, revision: str = "head", *, accounts: bool = False) -> Path | None:
    """Upgrade the schema to *revision*, by default the newest.

    With *accounts* (False) the tables of accounts are made, too. Tables that the library has made
    itself, or that an upgrade has left incomplete, are kept and completed.

    Returns the path of the backup; None if there were no sessions, or for a database server.
    Raises `Problem` when the table is another program's, the revision is unknown or the database
    fails.
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
    """Downgrade the schema to *revision*; "base" drops all tables.

    Returns the path of the backup, as `upgrade` does. Raises `Missing` when there is no database
    or no schema in it, and `Problem` as `upgrade` does.
    """
    if (path := _missing_file(url)) is not None:
        raise Missing(f"there is no database {path}", "set store.url to the database you mean")
    if state(url).current is None:
        raise Missing(
            "the database has no schema of this program, so there is nothing to downgrade",
            "set store.url to the database you mean",
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
    """Return the differences between the database's tables and those that the code describes."""
    with connected(url, to_look=True) as connection:
        return _compared(connection, table_of(url), accounts=accounts)


def columns(url: str, table: str) -> set[str]:
    """Return the names of a table's columns, without changing anything; none without the table."""
    schema = table_of(url).schema
    with connected(url, to_look=True) as connection:
        inspector = inspect(connection)
        is_there = inspector.has_table(table, schema)
        found = inspector.get_columns(table, schema) if is_there else []
        return {column["name"] for column in found}


def _compared(connection: Connection, name: TableName, *, accounts: bool) -> list[Any]:
    if name.schema == connection.dialect.default_schema_name:
        name = name._replace(schema=None)  # Alembic's word for the default schema
    tables = tables_of(name, accounts=accounts)
    context = MigrationContext.configure(connection, opts=_options(name, tables))
    return list(compare_metadata(context, tables))


def _missing_file(url: str) -> Path | None:
    """Return the path of a SQLite file that does not exist, else None."""
    parsed = parse(url)
    path = Path(str(parsed.database))
    return path if parsed.get_backend_name() == "sqlite" and not path.exists() else None


def run_migrations(connection: Connection, name: TableName) -> None:
    """Run the migrations; migrations/env.py calls this inside of Alembic.

    The migrations read *name*, the name of the table of sessions, and whether another table of
    sessions uses the same accounts.
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
    """Return the options by which Alembic finds these tables and their revision."""
    return {
        "version_table": name.version_table,
        "version_table_schema": name.schema,
        "include_schemas": name.schema is not None,
        "include_name": partial(_is_one_of, {table.name for table in tables.sorted_tables}, name),
        "compare_type": True,
    }


def _is_one_of(tables: set[str], ours: TableName, name: str | None, kind: str, _: object) -> bool:
    """Whether a table or a schema is ours; Alembic must ignore the others in the database."""
    if kind == "schema":
        return name == ours.schema
    return kind != "table" or name in tables


def _has_accounts(connection: Connection, schema: str | None) -> bool:
    inspector = inspect(connection)
    return all(inspector.has_table(name, schema) for name in accounts_metadata.tables)


def _shares_accounts(connection: Connection, name: TableName) -> bool:
    """Whether the schema has another table of sessions, which has its own version table."""
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
    """Return the schema of the database of a connection, as `state` does for a URL."""
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
            f"Alembic cannot do this: {error}",
            "name a revision that this program knows: "
            + ", ".join(reversed([script.revision for script in _scripts().walk_revisions()])),
        ) from error


def _foreign(connection: Connection, name: TableName) -> str | None:
    """Return why a table without a revision is another program's; None if it is ours."""
    if not inspect(connection).has_table(name.table, name.schema):
        return None
    found = _compared(connection, name, accounts=False)
    # A list holds the changes of one column.
    changes = [one for change in found for one in (change if type(change) is list else [change])]
    foreign = [change for change in changes if change[0] not in {"add_index", "add_table"}]
    return f"the table {name.table} is another program's: {foreign[0]}" if foreign else None


def _back_up(connection: Connection, name: TableName, current: str | None) -> Path | None:
    """Copy a SQLite file that has sessions to a file beside it, and return the path of the copy."""
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
