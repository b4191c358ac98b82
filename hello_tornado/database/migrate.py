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
from sqlalchemy import Connection, MetaData, inspect, text

from hello_tornado import resource
from hello_tornado.accounts.tables import metadata as accounts_metadata
from hello_tornado.database.connection import connected, transaction
from hello_tornado.problem import Missing, Problem
from hello_tornado.sessions.stores.sql.creation import make
from hello_tornado.sessions.stores.sql.schema import metadata as sessions_metadata
from hello_tornado.sessions.stores.sql.schema import sessions
from hello_tornado.sessions.stores.sql.sqlite import make_private_file
from hello_tornado.sessions.stores.sql.url import parse

ALL_TABLES = MetaData(naming_convention=accounts_metadata.naming_convention)
for table in (*sessions_metadata.sorted_tables, *accounts_metadata.sorted_tables):
    table.to_metadata(ALL_TABLES)
VERSION_TABLE = "hello_tornado_alembic_version"


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
            raise Problem(self.foreign, "name another database in store.url")
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
        return schema_of(connection, accounts=accounts)


def upgrade(url: str, revision: str = "head", *, accounts: bool = False) -> Path | None:
    """Bring the schema up to *revision*; returns the backup, if there was data to back up.

    Tables that the library has made by itself, or that an upgrade has left half-made, are taken
    over: every step of a migration can be repeated. With *accounts* their tables are made, too.
    """
    with transaction(url) as connection:
        before, backup = schema_of(connection), None
        if before.foreign or not before.is_known:
            before.check()
        if before.current != (before.head if revision == "head" else revision):
            backup = _back_up(connection, before.current)
            _run(command.upgrade, connection, revision)
        if accounts and revision in {"head", before.head}:
            make(connection, accounts_metadata)
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
    with transaction(url) as connection:
        before = schema_of(connection)
        if not before.is_known:
            before.check()
        backup = _back_up(connection, before.current)
        _run(command.downgrade, connection, revision)
        return backup


def differences(url: str, *, accounts: bool = False) -> list[Any]:
    """In what the database's tables differ from the ones that the code describes."""
    with connected(url, to_look=True) as connection:
        return _compared(connection, accounts=accounts)


def columns(url: str, table: str) -> set[str]:
    """The names of a table's columns; none if there is no such table. Looking changes nothing."""
    with connected(url, to_look=True) as connection:
        inspector = inspect(connection)
        found = inspector.get_columns(table) if inspector.has_table(table) else []
        return {column["name"] for column in found}


def _compared(connection: Connection, *, accounts: bool) -> list[Any]:
    tables = ALL_TABLES if accounts else sessions_metadata
    return list(compare_metadata(_migration_context(connection, tables), tables))


def _missing_file(url: str) -> Path | None:
    """The file of a SQLite database that is not there."""
    parsed = parse(url)
    path = Path(str(parsed.database))
    return path if parsed.get_backend_name() == "sqlite" and not path.exists() else None


def run_migrations(connection: Connection) -> None:
    """Called by migrations/env.py inside Alembic."""
    tables = ALL_TABLES if _has_accounts(connection) else sessions_metadata
    context.configure(
        connection=connection,
        target_metadata=tables,
        version_table=VERSION_TABLE,
        include_name=partial(_is_one_of, tables),
        render_as_batch=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(resource("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _migration_context(connection: Connection, tables: MetaData = ALL_TABLES) -> MigrationContext:
    return MigrationContext.configure(
        connection,
        opts={
            "version_table": VERSION_TABLE,
            "include_name": partial(_is_one_of, tables),
            "compare_type": True,
        },
    )


def _is_one_of(tables: MetaData, name: str | None, kind: str, _parents: object) -> bool:
    """Whatever else lives in the database is none of our business."""
    return kind != "table" or name in tables.tables


def _has_accounts(connection: Connection) -> bool:
    inspector = inspect(connection)
    return all(inspector.has_table(name) for name in accounts_metadata.tables)


def schema_of(connection: Connection, *, accounts: bool = False) -> Schema:
    """Where the database stands that a connection leads to; whether with the tables of accounts."""
    scripts = _scripts()
    current = _migration_context(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is None:
        return Schema(None, _head(), is_known=True, foreign=_foreign(connection))
    lacks_accounts = accounts and not _has_accounts(connection)
    return Schema(current, _head(), current in known, lacks_accounts=lacks_accounts)


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(resource("migrations")))


def _head() -> str:
    return str(_scripts().get_current_head())


def _run(operation: Callable[[Config, str], None], connection: Connection, revision: str) -> None:
    try:
        operation(_config(connection), revision)
    except CommandError as error:
        raise Problem(
            f"Alembic refuses: {error}",
            "name a revision of the schema; this program knows "
            + ", ".join(reversed([script.revision for script in _scripts().walk_revisions()])),
        ) from error


def _foreign(connection: Connection) -> str | None:
    """Why a table of sessions that no migration has made is not ours, if it is not."""
    if not inspect(connection).has_table(sessions.name):
        return None
    found = _compared(connection, accounts=False)
    # A list holds the changes of one column.
    changes = [one for change in found for one in (change if type(change) is list else [change])]
    foreign = [change for change in changes if change[0] not in {"add_index", "add_table"}]
    return f"there is a table {sessions.name} that is not ours: {foreign[0]}" if foreign else None


def _back_up(connection: Connection, current: str | None) -> Path | None:
    """A copy of a SQLite file beside it, when it holds sessions."""
    if connection.dialect.name != "sqlite" or not inspect(connection).has_table(sessions.name):
        return None
    if connection.execute(text("SELECT 1 FROM sessions LIMIT 1")).first() is None:
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
