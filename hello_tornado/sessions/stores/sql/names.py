"""What the table of sessions is called, and what is called after it."""

import re
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Table, Text, cast, func, literal
from sqlalchemy.engine import Dialect

from hello_tornado.sessions.errors import ConfigurationError

DEFAULT_TABLE: Final = "sessions"
DEFAULT_VERSION_TABLE: Final = "hello_tornado_alembic_version"
# The longest name that is made from the table's is that of a primary key of Alembic's. PostgreSQL
# cuts off what is longer than 63 bytes, and MariaDB refuses what is longer than 64 characters.
LONGEST_TABLE: Final = 63 - len("_alembic_version_pkc")
LONGEST_SCHEMA: Final = 63
NAME: Final = re.compile(r"""(?!.*[^\0-\uffff])[^\W\d][\w $'"-]*(?<! )""")
TAKEN: Final = frozenset(
    {
        "hello_tornado",  # its version table would be that of the default
        "hello_tornado_users",
        "hello_tornado_guesses",
        DEFAULT_VERSION_TABLE,
    }
)


class TableName(NamedTuple):
    """A table, and its schema: None is the one that the connection looks in by itself."""

    table: str = DEFAULT_TABLE
    schema: str | None = None

    @property
    def version_table(self) -> str:
        """The table of Alembic's that says which revision this one has: each has its own."""
        is_default = self.table == DEFAULT_TABLE
        return DEFAULT_VERSION_TABLE if is_default else f"{self.table}_alembic_version"

    @property
    def options(self) -> dict[str, str]:
        """The options of a URL that say so; none where the default does."""
        table = {} if self.table == DEFAULT_TABLE else {"table": self.table}
        return table if self.schema is None else {**table, "schema": self.schema}


def table_name(backend: str, table: Any = None, schema: Any = None) -> TableName:
    """The names for a database of the kind *backend*; None takes the default.

    Raises `ConfigurationError` for a name that this kind of database, or we, cannot use.
    """
    if backend == "sqlite" and schema is not None:
        raise ConfigurationError(
            "SQLite has no schemas: leave schema out, and name another table or another file"
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
            f"the {what} of a SQL store is a name without dots, and not {given!r}: "
            'write schema="app", table="sessions" instead of app.sessions'
        )
    if NAME.fullmatch(given) is None:
        raise ConfigurationError(
            f"the {what} of a SQL store must begin with a letter or _, and go on with letters, "
            f"""digits, _, $, -, ', " and blanks; it is {given!r:.100}"""
        )
    if len(given.encode()) > longest:
        raise ConfigurationError(
            f"the {what} of a SQL store may have {longest} bytes; {given!r:.100} has "
            f"{len(given.encode())}"
        )
    return given


def digest_of(table: Table, dialect: Dialect) -> ColumnElement[str]:
    """What a server makes from the full name of *table*: 32 characters, for locks and channels.

    Two tables of one server differ in it. A schema that is not named is looked up, so that those
    who name it and those who do not mean the same. No table's name has a dot.
    """
    is_postgresql = dialect.name == "postgresql"
    current = func.current_schema() if is_postgresql else func.database()
    schema: ColumnElement[Any] = (
        func.coalesce(cast(current, Text) if is_postgresql else current, "")
        if table.schema is None
        else literal(str(table.schema))
    )
    return func.md5(func.concat(schema, ".", str(table.name)))
