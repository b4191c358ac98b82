"""The tables of accounts get names of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = {
    "guesses": {"bucket", "free_at"},
    "users": {"user_id", "name", "password", "created_at", "disabled_at", "signed_out_at"},
}
INDEXED = {"guesses": "free_at", "users": "signed_out_at"}


def upgrade() -> None:
    """Rename users and guesses, if they are ours."""
    for name in COLUMNS:
        _rename(name, f"hello_tornado_{name}")


def downgrade() -> None:
    """Rename them back."""
    for name in COLUMNS:
        _rename(f"hello_tornado_{name}", name)


def _rename(old: str, new: str) -> None:
    """Each step may have been taken before: MariaDB commits it by itself."""
    kind = old.removeprefix("hello_tornado_")
    inspector = sa.inspect(op.get_bind())
    if inspector.has_table(old) and not inspector.has_table(new):
        if {column["name"] for column in inspector.get_columns(old)} != COLUMNS[kind]:
            return  # an application's own
        op.rename_table(old, new)
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"ALTER INDEX IF EXISTS pk_{old} RENAME TO pk_{new}")
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(new):
        return
    if {column["name"] for column in inspector.get_columns(new)} != COLUMNS[kind]:
        return
    column = INDEXED[kind]
    op.drop_index(f"ix_{old}_{column}", new, if_exists=True)
    op.create_index(f"ix_{new}_{column}", new, [column], if_not_exists=True)
