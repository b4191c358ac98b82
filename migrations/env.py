"""Runs the migrations: on the connection that hello_tornado.migrate gives, or on one of its own."""

from alembic import context

from hello_tornado import database, migrate

if (connection := context.config.attributes.get("connection")) is not None:
    migrate.run_migrations(connection)
else:  # plain `alembic …` in the checkout
    from hello_tornado.settings import load_settings

    with database.transaction(load_settings().settings.store.url) as own:
        migrate.run_migrations(own)
