"""Runs the migrations, on the connection that database/migrate.py opened or on a new one."""

from alembic import context

from hello_tornado.database import migrate
from hello_tornado.database.connection import transaction

if (connection := context.config.attributes.get("connection")) is not None:
    migrate.run_migrations(connection, context.config.attributes["name"])
else:  # the command `alembic` in a checkout
    from hello_tornado.config.settings import load_settings
    from hello_tornado.sessions.stores.sql.url import table_of

    url = load_settings().settings.store.url
    with transaction(url) as own:
        migrate.run_migrations(own, table_of(url))
