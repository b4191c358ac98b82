"""Stores that use the SQLAlchemy engine of an application to open their connections.

A store cannot use the connections of the application's pool. Its connections stay open as long as
the process runs, their time limits and isolation level are wrong for the application, and the
application may have changed any setting of its own connections. So the engine is used only to open
new connections.
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
    """Return the target for an application's engine.

    Raises `ConfigurationError` if a store cannot use the engine or an argument is invalid.
    """
    if not isinstance(engine, AsyncEngine):
        raise ConfigurationError(_not_async(engine))
    backend, driver = engine.url.get_backend_name(), engine.dialect.driver
    if backend == "sqlite":
        raise ConfigurationError(
            "a SQLite store uses its own threads and connections, not an engine: write "
            f'open_store("sqlite:///{engine.url.database or "sessions.db"}")'
        )
    if driver not in SET_UP:
        raise ConfigurationError(
            f"the engine's driver is {driver}; it must be one of {', '.join(SET_UP)}"
        )
    if schema is None and engine.sync_engine.get_execution_options().get("schema_translate_map"):
        raise ConfigurationError(
            "the engine has a schema_translate_map, which the store does not use: write "
            'from_engine(engine, schema="…")'
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
            "from_engine() needs an AsyncEngine; this is an Engine, which would block the "
            "event loop: create one for the same URL with "
            "sqlalchemy.ext.asyncio.create_async_engine()"
        )
    return (
        "from_engine() needs an AsyncEngine, as create_async_engine(url) returns; it is a "
        f"{type(engine).__name__}"
    )


def _opened(engine: AsyncEngine) -> Any:
    """Return a new connection of the driver, outside the engine's pool, with our settings.

    A copy of the pool opens it. The copy has the pool's creator and event listeners but none of its
    connections.
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
            f"the engine's connections have the character set {charset}: create the engine with "
            "charset=utf8mb4 in its URL",
            None,
        )


def _run(connection: Any, statement: str) -> Any:
    """Return the first value of the answer, or None."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]
    finally:
        cursor.close()


SET_UP: Final[dict[str, Callable[[Any], None]]] = {
    "psycopg": _set_up_psycopg,
    "asyncpg": lambda _: None,  # it always uses binary arrays and UTF-8
    "asyncmy": _set_up_asyncmy,
}
