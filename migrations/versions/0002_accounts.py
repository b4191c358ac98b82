"""The tables of accounts, which this revision once created with the names users and guesses.

Now they are created when accounts are needed (see `hello_tornado.database.migrate`), and the names
users and guesses are left to the application.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

OURS = {
    "guesses": {"bucket", "free_at"},
    "users": {"user_id", "name", "password", "created_at", "disabled_at", "signed_out_at"},
}


def upgrade() -> None:
    """Do nothing: the tables of accounts are created after the last revision, if needed."""


def downgrade() -> None:
    """Drop both tables with all accounts, unless another table of sessions uses them."""
    if op.get_context().opts["shares_accounts"]:
        return
    schema = op.get_context().opts["table_name"].schema
    for kind, columns in OURS.items():
        for name in (kind, f"hello_tornado_{kind}"):  # the first may be the application's own
            inspector = sa.inspect(op.get_bind())
            found = inspector.get_columns(name, schema) if inspector.has_table(name, schema) else []
            if {column["name"] for column in found} == columns:
                op.drop_table(name, schema=schema)
