"""The table of sessions, in types that hold the same on every database."""

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


def sessions_table(name: TableName) -> Table:
    """The table of sessions under this name, alone in its metadata."""
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
    """The same tables in a schema; None leaves them where they are."""
    if schema is None:
        return metadata
    moved = MetaData(naming_convention=NAMING)
    for table in metadata.sorted_tables:
        table.to_metadata(moved, schema=quoted_name(schema, quote=True))
    return moved


def execution_options(name: TableName) -> dict[str, Any]:
    """What makes a connection look in the schema for tables that name none."""
    return {} if name.schema is None else {"schema_translate_map": {None: name.schema}}


def by_key(query: Select[Any], table: Table) -> Select[Any]:
    """A query that locks rows, made to find them by the primary key, and in its order.

    MariaDB reads a small table by whichever index it likes, and locks all that it reads: two
    processes would then wait for each other.
    """
    for dialect in FOLDING:
        query = query.with_hint(table, "FORCE INDEX (PRIMARY)", dialect)
    return query.order_by(table.c.key)
