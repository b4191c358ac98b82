"""Rename the tables of accounts, so that they begin with hello_tornado_."""

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
    """Rename users and guesses, unless they are the application's."""
    for name in COLUMNS:
        _rename(name, f"hello_tornado_{name}")


def downgrade() -> None:
    """Rename them back, unless another table of sessions uses them with these names."""
    if op.get_context().opts["shares_accounts"]:
        return
    for name in COLUMNS:
        _rename(f"hello_tornado_{name}", name)


def _rename(old: str, new: str) -> None:
    """Rename a table, its key and its index; skip the steps that have been done before.

    MariaDB commits each step by itself, so an upgrade that failed may have done some of them.
    """
    kind, schema = old.removeprefix("hello_tornado_"), op.get_context().opts["table_name"].schema
    inspector = sa.inspect(op.get_bind())
    if inspector.has_table(old, schema) and not inspector.has_table(new, schema):
        if {column["name"] for column in inspector.get_columns(old, schema)} != COLUMNS[kind]:
            return  # this table is the application's
        op.rename_table(old, new, schema=schema)
        dialect = op.get_bind().dialect
        if dialect.name == "postgresql":
            quoted = "" if schema is None else f"{dialect.identifier_preparer.quote(schema)}."
            op.execute(f"ALTER INDEX IF EXISTS {quoted}pk_{old} RENAME TO pk_{new}")
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(new, schema):
        return
    if {column["name"] for column in inspector.get_columns(new, schema)} != COLUMNS[kind]:
        return
    column = INDEXED[kind]
    op.drop_index(f"ix_{old}_{column}", new, schema=schema, if_exists=True)
    op.create_index(f"ix_{new}_{column}", new, [column], schema=schema, if_not_exists=True)
