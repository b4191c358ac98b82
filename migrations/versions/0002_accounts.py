"""The tables of accounts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MARIADB = ("mysql", "mariadb")


def upgrade() -> None:
    """Create the users, and the counts of guesses at their passwords."""
    text = sa.String(255).with_variant(mysql.VARBINARY(1020), *MARIADB)
    op.create_table(
        "users",
        sa.Column("user_id", text, nullable=False),
        sa.Column("name", text, nullable=False),
        sa.Column("password", sa.String(255), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("disabled_at", sa.BigInteger),
        sa.Column("signed_out_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("user_id", name="pk_users"),
        if_not_exists=True,
    )
    op.create_index("ix_users_signed_out_at", "users", ["signed_out_at"], if_not_exists=True)
    op.create_table(
        "guesses",
        sa.Column(
            "bucket", sa.LargeBinary(32).with_variant(mysql.BINARY(32), *MARIADB), nullable=False
        ),
        sa.Column("free_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("bucket", name="pk_guesses"),
        if_not_exists=True,
    )
    op.create_index("ix_guesses_free_at", "guesses", ["free_at"], if_not_exists=True)


def downgrade() -> None:
    """Drop both, and every account with them."""
    op.drop_table("guesses")
    op.drop_table("users")
