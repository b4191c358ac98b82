"""Create the table of sessions, with the name and in the schema that the store's URL gives."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import quoted_name
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MARIADB = ("mysql", "mariadb")


def upgrade() -> None:
    """Create the table of sessions and its three indexes."""
    name = op.get_context().opts["table_name"]
    op.create_table(
        quoted_name(name.table, quote=True),
        sa.Column(
            "key", sa.LargeBinary(32).with_variant(mysql.BINARY(32), *MARIADB), nullable=False
        ),
        sa.Column("handle", sa.String(32), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("user_id", sa.String(255).with_variant(mysql.VARBINARY(1020), *MARIADB)),
        sa.Column(
            "data", sa.LargeBinary().with_variant(mysql.LONGBLOB(), *MARIADB), nullable=False
        ),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("accessed_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", name=f"pk_{name.table}"),
        schema=name.schema,
        if_not_exists=True,
    )
    for column in ("expires_at", "user_id", "handle"):
        op.create_index(
            f"ix_{name.table}_{column}",
            quoted_name(name.table, quote=True),
            [column],
            schema=name.schema,
            if_not_exists=True,
        )


def downgrade() -> None:
    """Drop the table of sessions with all sessions."""
    name = op.get_context().opts["table_name"]
    op.drop_table(quoted_name(name.table, quote=True), schema=name.schema)
