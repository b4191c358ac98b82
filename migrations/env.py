"""Runs the migrations: on the connection that database/migrate.py gives, or on one of its own."""

from alembic import context

from hello_tornado.database import migrate
from hello_tornado.database.connection import transaction

if (connection := context.config.attributes.get("connection")) is not None:
    migrate.run_migrations(connection)
else:  # plain `alembic …` in the checkout
    from hello_tornado.config.settings import load_settings

    with transaction(load_settings().settings.store.url) as own:
        migrate.run_migrations(own)
