"""The tables of accounts, which this revision once made under the names users and guesses.

They are made when accounts are needed (`hello_tornado.database.migrate`), so that the names of an
application's own tables are left to it.
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
    """Do nothing: accounts get their tables after the last revision, where they are needed."""


def downgrade() -> None:
    """Drop both, and every account with them, unless another table of sessions uses them."""
    if op.get_context().opts["shares_accounts"]:
        return
    schema = op.get_context().opts["table_name"].schema
    for kind, columns in OURS.items():
        for name in (kind, f"hello_tornado_{kind}"):  # the second where the first is another's
            inspector = sa.inspect(op.get_bind())
            found = inspector.get_columns(name, schema) if inspector.has_table(name, schema) else []
            if {column["name"] for column in found} == columns:
                op.drop_table(name, schema=schema)
