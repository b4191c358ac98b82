"""The table of sessions, in types that hold the same on every database."""

from typing import Any

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
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

FOLDING = ("mysql", "mariadb")

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_name)s", "pk": "pk_%(table_name)s"}
)


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


sessions = Table(
    "sessions",
    metadata,
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
)


def by_key(query: Select[Any]) -> Select[Any]:
    """A query that locks rows, made to find them by the primary key, and in its order.

    MariaDB reads a small table by whichever index it likes, and locks all that it reads: two
    processes would then wait for each other.
    """
    for dialect in FOLDING:
        query = query.with_hint(sessions, "FORCE INDEX (PRIMARY)", dialect)
    return query.order_by(sessions.c.key)
