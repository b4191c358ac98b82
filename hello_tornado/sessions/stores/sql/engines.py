"""A database that an application has opened for itself: connections of ours, opened as its own are.

The connections of its pool are of no use to us. Ours are held as long as the process lives, they
have limits and an isolation level that an application's must not have, and nothing is known of what
the application has set on its own. So its engine is asked for one thing: a new connection.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from hello_tornado.sessions.errors import ConfigurationError, StoreMisconfigured
from hello_tornado.sessions.stores.deadlines import limit_of
from hello_tornado.sessions.stores.failures import failed
from hello_tornado.sessions.stores.sql.names import table_name
from hello_tornado.sessions.stores.sql.url import (
    MARIADB_SETTINGS,
    Target,
    write_arrays_in_binary,
)


def target_of_engine(
    engine: Any, *, table: str, schema: str | None, timeout: float, create: bool
) -> Target:
    """What an application's engine leads to; `ConfigurationError` for one that we cannot use."""
    if not isinstance(engine, AsyncEngine):
        raise ConfigurationError(_not_async(engine))
    backend, driver = engine.url.get_backend_name(), engine.dialect.driver
    if backend == "sqlite":
        raise ConfigurationError(
            "a SQLite store drives its file from threads of its own, and takes no engine: "
            f'open_store("sqlite:///{engine.url.database or "sessions.db"}")'
        )
    if driver not in SET_UP:
        raise ConfigurationError(
            f"the engine's driver is {driver}; a store takes one of {', '.join(SET_UP)}"
        )
    if schema is None and engine.sync_engine.get_execution_options().get("schema_translate_map"):
        raise ConfigurationError(
            "the engine has a schema_translate_map, which the store does not use: say "
            'from_engine(engine, schema="…") for the schema that is meant'
        )
    if not isinstance(create, bool):
        raise ConfigurationError("from_engine(create=…) must be True or False")
    return Target(
        engine.url,
        {},
        limit_of(str(timeout)),
        create,
        table_name(backend, table, schema),
        partial(_opened, engine),
    )


def _not_async(engine: Any) -> str:
    if isinstance(engine, Engine):
        return (
            "from_engine() takes an AsyncEngine, and this is an Engine, which would block the "
            "event loop: make one for the same URL with "
            "sqlalchemy.ext.asyncio.create_async_engine()"
        )
    return (
        "from_engine() takes an AsyncEngine, such as create_async_engine(url) returns; it is a "
        f"{type(engine).__name__}"
    )


def _opened(engine: AsyncEngine) -> Any:
    """A new connection of the driver's, outside of the engine's pool, set up as those of a URL.

    A copy of the pool opens it. It has the pool's creator and the functions that listen to it, and
    none of its connections.
    """
    opened = engine.sync_engine.pool.recreate().connect()
    connection: Any = opened.dbapi_connection
    opened.detach()
    try:
        SET_UP[engine.dialect.driver](connection)
    except BaseException:
        engine.dialect.do_terminate(connection)
        raise
    return connection


def _set_up_psycopg(connection: Any) -> None:
    write_arrays_in_binary(connection.driver_connection.adapters)
    _run(connection, "SET client_encoding TO 'UTF8'")
    connection.commit()


def _set_up_asyncmy(connection: Any) -> None:
    _run(connection, MARIADB_SETTINGS)
    charset = _run(connection, "SELECT @@character_set_client")
    if not str(charset).startswith("utf8"):
        raise failed(
            StoreMisconfigured,
            f"the engine's connections have the character set {charset}: make it with "
            "charset=utf8mb4 in its URL",
            None,
        )


def _run(connection: Any, statement: str) -> Any:
    """The first value of the answer; None when there is no answer."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]
    finally:
        cursor.close()


SET_UP: Final[dict[str, Callable[[Any], None]]] = {
    "psycopg": _set_up_psycopg,
    "asyncpg": lambda _: None,  # it has arrays in binary, and UTF-8
    "asyncmy": _set_up_asyncmy,
}
