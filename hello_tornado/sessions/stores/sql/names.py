"""The name of the sessions table, and the names that are derived from it."""

import re
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Table, Text, cast, func, literal
from sqlalchemy.engine import Dialect

from hello_tornado.sessions.errors import ConfigurationError

DEFAULT_TABLE: Final = "sessions"
DEFAULT_VERSION_TABLE: Final = "hello_tornado_alembic_version"
# The longest derived name is that of a primary key of Alembic. PostgreSQL truncates names to 63
# bytes, and MariaDB refuses names of more than 64 characters.
LONGEST_TABLE: Final = 63 - len("_alembic_version_pkc")
LONGEST_SCHEMA: Final = 63
NAME: Final = re.compile(r"""(?!.*[^\0-\uffff])[^\W\d][\w $'"-]*(?<! )""")
TAKEN: Final = frozenset(
    {
        "hello_tornado",  # its version table would have the name of the default one
        "hello_tornado_users",
        "hello_tornado_guesses",
        DEFAULT_VERSION_TABLE,
    }
)


class TableName(NamedTuple):
    """The name of a table and of its schema; None is the default schema of the connection."""

    table: str = DEFAULT_TABLE
    schema: str | None = None

    @property
    def version_table(self) -> str:
        """The name of the Alembic table with the revision of this table."""
        is_default = self.table == DEFAULT_TABLE
        return DEFAULT_VERSION_TABLE if is_default else f"{self.table}_alembic_version"

    @property
    def options(self) -> dict[str, str]:
        """The options of a URL with these names, without defaults."""
        table = {} if self.table == DEFAULT_TABLE else {"table": self.table}
        return table if self.schema is None else {**table, "schema": self.schema}


def table_name(backend: str, table: Any = None, schema: Any = None) -> TableName:
    """Return the checked names for a database of the kind *backend*; None is the default.

    Raises `ConfigurationError` for a name that this kind of database or this library cannot use.
    """
    if backend == "sqlite" and schema is not None:
        raise ConfigurationError(
            "SQLite has no schemas: omit schema and use another table or another file"
        )
    name = DEFAULT_TABLE if table is None else _checked("table", table, LONGEST_TABLE)
    if name.lower() in TAKEN or (backend == "sqlite" and name.lower().startswith("sqlite_")):
        raise ConfigurationError(f"the table cannot be called {name}: that name is reserved")
    if schema is not None:
        _checked("schema", schema, LONGEST_SCHEMA)
    return TableName(name, schema)


def _checked(what: str, given: Any, longest: int) -> str:
    if not isinstance(given, str):
        number = "more than one" if isinstance(given, tuple) else f"a {type(given).__name__}"
        raise ConfigurationError(f"the {what} of a SQL store must be one name; it is {number}")
    if "." in given:
        raise ConfigurationError(
            f"the {what} of a SQL store must be a name without dots, not {given!r}: "
            'write schema="app", table="sessions" instead of app.sessions'
        )
    if NAME.fullmatch(given) is None:
        raise ConfigurationError(
            f"the {what} of a SQL store must begin with a letter or _ and continue with letters, "
            f"""digits, _, $, -, ', " and blanks; it is {given!r:.100}"""
        )
    if len(given.encode()) > longest:
        raise ConfigurationError(
            f"the {what} of a SQL store may have at most {longest} bytes; {given!r:.100} has "
            f"{len(given.encode())}"
        )
    return given


def digest_of(table: Table, dialect: Dialect) -> ColumnElement[str]:
    """Return an expression for a hash of the full name of *table*, for names of locks and channels.

    It has 32 characters and is different for all tables of a server. If the table has no schema,
    the server looks it up, so the hash does not depend on whether a program names the default
    schema. Names of tables contain no dots.
    """
    is_postgresql = dialect.name == "postgresql"
    current = func.current_schema() if is_postgresql else func.database()
    schema: ColumnElement[Any] = (
        func.coalesce(cast(current, Text) if is_postgresql else current, "")
        if table.schema is None
        else literal(str(table.schema))
    )
    return func.md5(func.concat(schema, ".", str(table.name)))
