"""The tables of accounts; the library has the table of sessions."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, LargeBinary, MetaData, String, Table
from sqlalchemy.dialects import mysql

from hello_tornado.sessions.stores.sql.schema import FOLDING, NAMING, ExactText

metadata: Final = MetaData(naming_convention=NAMING)

users: Final = Table(
    "hello_tornado_users",
    metadata,
    Column("user_id", ExactText(255), primary_key=True),
    Column("name", ExactText(255), nullable=False),
    Column("password", String(255), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    Column("signed_out_at", BigInteger),  # sessions that began before this moment are over
    Index(None, "signed_out_at"),
)

guesses: Final = Table(
    "hello_tornado_guesses",
    metadata,
    Column("bucket", LargeBinary(32).with_variant(mysql.BINARY(32), *FOLDING), primary_key=True),
    Column("free_at", BigInteger, nullable=False),
    Index(None, "free_at"),
)
