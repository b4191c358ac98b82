"""The sessions table, with column types that store the same values on all databases."""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    TypeDecorator,
    quoted_name,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from hello_tornado.sessions.stores.sql.names import TableName

FOLDING = ("mysql", "mariadb")
NAMING: Final = {"ix": "ix_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}


class ExactText(TypeDecorator[str]):
    """Text that is compared exactly, although MariaDB ignores case, accents or trailing blanks."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return a type for bytes on MariaDB and MySQL: four for each of up to 255 characters."""
        if dialect.name in FOLDING:
            return dialect.type_descriptor(mysql.VARBINARY(1020))
        return dialect.type_descriptor(self.impl_instance)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Return the value to send to the database."""
        return value.encode() if value is not None and dialect.name in FOLDING else value

    def process_result_value(self, value: Any, _dialect: Dialect) -> str | None:
        """Return the text for a value from the database."""
        return bytes(value).decode() if isinstance(value, bytes | bytearray) else value


def sessions_table(name: TableName) -> Table:
    """Return the sessions table with this name, in separate metadata."""
    return Table(
        quoted_name(name.table, quote=True),
        MetaData(naming_convention=NAMING),
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
        schema=None if name.schema is None else quoted_name(name.schema, quote=True),
    )


def in_schema(metadata: MetaData, schema: str | None) -> MetaData:
    """Return *metadata* with all tables moved to a schema, or unchanged if that is None."""
    if schema is None:
        return metadata
    moved = MetaData(naming_convention=NAMING)
    for table in metadata.sorted_tables:
        table.to_metadata(moved, schema=quoted_name(schema, quote=True))
    return moved


def execution_options(name: TableName) -> dict[str, Any]:
    """Return the options with which a connection uses the schema for tables that name none."""
    return {} if name.schema is None else {"schema_translate_map": {None: name.schema}}


def by_key(query: Select[Any], table: Table) -> Select[Any]:
    """Return a locking query that reads rows by the primary key and in its order.

    MariaDB reads a small table by any index and locks all rows that it reads, so two processes
    could wait for each other.
    """
    for dialect in FOLDING:
        query = query.with_hint(table, "FORCE INDEX (PRIMARY)", dialect)
    return query.order_by(table.c.key)
