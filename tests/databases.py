"""What tests do to a SQL database beside the store."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, create_engine, inspect, text

from hello_tornado.sessions.stores.sql.url import blocking_target_of


def run(url: str, *statements: str, schema: str | None = None) -> list[str]:
    """Run statements in the database of a URL; returns the names of all tables (of a schema)."""
    target = blocking_target_of(url)
    engine = create_engine(target.url, connect_args=dict(target.arguments))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
        names = inspect(connection).get_table_names(schema)
    engine.dispose()
    return names


@contextmanager
def mariadb_database(server: URL) -> Iterator[str]:
    """An empty database of one's own on a MariaDB server; yields its name."""
    name = f"test_{secrets.token_hex(6)}"
    text_of_server = server.render_as_string(hide_password=False)
    run(text_of_server, f"CREATE DATABASE {name}")
    yield name
    run(text_of_server, f"DROP DATABASE {name}")


def as_a_poor_user(url: str) -> str:
    """The URL of the same database for a user who may read and write, and make nothing."""
    target = blocking_target_of(url).url
    if target.get_backend_name() == "postgresql":
        run(
            url,
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            "DO $$ BEGIN CREATE ROLE poor_user LOGIN PASSWORD 'poor'; "
            "EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        )
    else:
        run(
            url,
            "CREATE OR REPLACE USER poor_user@'127.0.0.1' IDENTIFIED BY 'poor'",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{target.database}`.* "
            "TO poor_user@'127.0.0.1'",
        )
    return target.set(
        drivername=target.get_backend_name(), username="poor_user", password="poor"
    ).render_as_string(hide_password=False)
