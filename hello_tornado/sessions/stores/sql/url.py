"""SQL URLs, with or without a driver, and the settings of the drivers."""

import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.sessions.stores import check_is_encoded, without_password
from hello_tornado.sessions.stores.deadlines import LIMIT_SECONDS, limit_of
from hello_tornado.sessions.stores.sql.names import TableName, table_name

ON_THE_LOOP = {"postgresql": "psycopg", "mysql": "asyncmy", "mariadb": "asyncmy"}
IN_A_THREAD = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
# The drivers insert values into the statement, escaped with backslashes. With NO_BACKSLASH_ESCAPES
# in its sql_mode, a server would read such a value as SQL. MariaDB and MySQL have different names
# for the isolation level, and each reads only its own comments. With completion_type CHAIN, nothing
# after the first COMMIT would be committed. With a sql_select_limit, a load could miss records.
MARIADB_SETTINGS = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', "
    "completion_type = 'NO_CHAIN', sql_select_limit = 18446744073709551615, sql_safe_updates = 0, "
    "sql_big_selects = 1, sql_auto_is_null = 0, wait_timeout = 28800 "
    "/*M! , tx_isolation = 'READ-COMMITTED' */ "
    "/*!80000 , transaction_isolation = 'READ-COMMITTED' */"
)
YES = {"true", "1", "yes"}
NO = {"false", "0", "no"}
OUR_OPTIONS = {"timeout", "create", "table", "schema"}


class Target(NamedTuple):
    """How to connect to a database.

    - `url`: the URL for SQLAlchemy.
    - `arguments`: further arguments of the driver.
    - `limit`: the time limit of a call, in seconds.
    - `creates`: whether missing tables are created.
    - `name`: the names of the table and its schema.
    - `opens`: a function that returns a new connection of the driver and is used instead of the
      URL, or None.
    """

    url: URL
    arguments: Mapping[str, Any]
    limit: float = LIMIT_SECONDS
    creates: bool = True
    name: TableName = TableName()
    opens: Callable[[], Any] | None = None

    @property
    def shown(self) -> str:
        """The URL without its password, and with the table if it is not the default."""
        named = self.url.update_query_dict(self.name.options)
        return without_password(named.render_as_string())


def target_of(text: str) -> Target:
    """Return the target of a URL for an event loop. A driver in the URL is used."""
    url = parse(text)
    limit, creates, name = _our_options(url)
    url = url.difference_update_query(OUR_OPTIONS)
    driver = ON_THE_LOOP.get(url.drivername)
    target = _with_arguments(
        url if driver is None else url.set(drivername=f"{url.drivername}+{driver}")
    )
    return target._replace(limit=limit, creates=creates, name=name)


def blocking_target_of(text: str) -> Target:
    """Return the target of the same database with a blocking driver, for migrations."""
    url, name = parse(text).difference_update_query(OUR_OPTIONS), table_of(text)
    backend = url.get_backend_name()
    if backend not in IN_A_THREAD:
        return Target(url, {}, name=name)
    if url.get_driver_name() == "asyncpg" and "ssl" in url.query:
        mode = {"sslmode": url.query["ssl"]}
        url = url.difference_update_query(["ssl"]).update_query_dict(mode)
    target = _with_arguments(url.set(drivername=f"{backend}+{IN_A_THREAD[backend]}"))
    return target._replace(name=name)


def table_of(text: str) -> TableName:
    """Return the name of the sessions table in the database of this URL."""
    *_, name = _our_options(parse(text))
    return name


def parse(text: str) -> URL:
    """Parse a URL.

    Raises `ConfigurationError` if it is invalid, or a SQLite URL without a file.
    """
    check_is_encoded(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "the store's URL is invalid; write sqlite:///var/sessions.db or "
            "postgresql://user:password@host/database, with %40 for an @ in the password"
        ) from None
    if nameless := re.search(r"[?&](table|schema)=(?=&|$)", text):
        raise ConfigurationError(f"the option {nameless[1]} of the store's URL is empty")
    if url.drivername == "postgres":
        return url.set(drivername="postgresql")
    if url.get_backend_name() == "sqlite" and url.host:
        raise ConfigurationError(
            "a SQLite URL has three slashes before a relative path and four before an absolute "
            f"one: sqlite:///{url.host}/{url.database or 'sessions.db'}"
        )
    if url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}:
        raise ConfigurationError(
            "sqlite:// needs a file: sqlite:///var/sessions.db; "
            "for sessions that end with the process use memory://"
        )
    if url.get_backend_name() == "sqlite" and (unknown := {*url.query} - OUR_OPTIONS):
        raise ConfigurationError(
            f"a SQLite URL has no option {', '.join(sorted(unknown))}; it has create, table and "
            "timeout"
        )
    return url


def _our_options(url: URL) -> tuple[float, bool, TableName]:
    """Return `timeout` in seconds, whether to `create` missing tables, and the table's name."""
    timeout, create = url.query.get("timeout"), str(url.query.get("create", "true")).lower()
    if create not in YES | NO:
        raise ConfigurationError("the option create of the store's URL must be true or false")
    limit = LIMIT_SECONDS if timeout is None else limit_of(str(timeout))
    backend, table, schema = url.get_backend_name(), url.query.get("table"), url.query.get("schema")
    return limit, create in YES, table_name(backend, table, schema)


def _with_arguments(url: URL) -> Target:
    """Return the target of a URL with the driver arguments that a URL cannot contain.

    The drivers of MariaDB accept neither an isolation level nor a plain `ssl=true` in a URL. With
    `ssl=true`, the system must trust the certificate, and the certificate must name the host.
    psycopg would write arrays as text, which takes twice as long for keys.
    """
    arguments: dict[str, Any]
    if url.get_driver_name() == "psycopg":
        arguments = {"context": _arrays_in_binary()}
        if "client_encoding" not in url.query:
            arguments["client_encoding"] = "UTF8"
        return Target(url, arguments)
    if url.get_backend_name() not in {"mysql", "mariadb"}:
        return Target(url, {})
    arguments = {"init_command": MARIADB_SETTINGS}
    if str(url.query.get("ssl", "")).lower() in YES:
        arguments["ssl"] = ssl.create_default_context()
        url = url.difference_update_query(["ssl"])
    return Target(url, arguments)


def _arrays_in_binary() -> Any:
    from psycopg import adapters  # noqa: PLC0415 - not always installed
    from psycopg.adapt import AdaptersMap  # noqa: PLC0415

    own = AdaptersMap(adapters)
    write_arrays_in_binary(own)
    return own


def write_arrays_in_binary(adapters: Any) -> None:
    """Make psycopg send arrays in binary; *adapters* are, for example, those of a connection."""
    from psycopg.types.array import ListBinaryDumper  # noqa: PLC0415 - it is installed here

    adapters.register_dumper(list, ListBinaryDumper)
