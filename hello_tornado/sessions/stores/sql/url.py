"""The database that a SQL URL leads to, in everyday words or with a driver."""

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
# The drivers put values into the statement, escaped with backslashes. A server whose own sql_mode
# holds NO_BACKSLASH_ESCAPES would read such a value as SQL. MariaDB and MySQL name the isolation
# level differently; each reads only the comments that are meant for it. With completion_type CHAIN
# nothing after the first COMMIT would be committed; with a sql_select_limit a load would not find
# all that it asks for.
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
    """A URL as SQLAlchemy takes it, and what its driver is told besides.

    *limit* is the seconds of a call. Missing tables are made unless *creates* is False. *opens*
    returns a new connection of the driver's, where the URL and the arguments do not say it all.
    """

    url: URL
    arguments: Mapping[str, Any]
    limit: float = LIMIT_SECONDS
    creates: bool = True
    name: TableName = TableName()
    opens: Callable[[], Any] | None = None

    @property
    def shown(self) -> str:
        """The URL without its password, with the table if it is not the default."""
        named = self.url.update_query_dict(self.name.options)
        return without_password(named.render_as_string())


def target_of(text: str) -> Target:
    """What a URL leads to from an event loop; a driver that it names is used."""
    url = parse(text)
    limit, creates, name = _our_options(url)
    url = url.difference_update_query(OUR_OPTIONS)
    driver = ON_THE_LOOP.get(url.drivername)
    target = _with_arguments(
        url if driver is None else url.set(drivername=f"{url.drivername}+{driver}")
    )
    return target._replace(limit=limit, creates=creates, name=name)


def blocking_target_of(text: str) -> Target:
    """The same database for a thread that waits, as upgrades do."""
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
    """What the table of sessions is called in the database of this URL."""
    *_, name = _our_options(parse(text))
    return name


def parse(text: str) -> URL:
    """The parts of a URL; `ConfigurationError` when it is none, or SQLite's without a file."""
    check_is_encoded(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "the store's URL is none; write it as sqlite:///var/sessions.db, or as "
            "postgresql://user:password@host/database, with %40 for an @ in the password"
        ) from None
    if nameless := re.search(r"[?&](table|schema)=(?=&|$)", text):
        raise ConfigurationError(f"the option {nameless[1]} of the store's URL names nothing")
    if url.drivername == "postgres":
        return url.set(drivername="postgresql")
    if url.get_backend_name() == "sqlite" and url.host:
        raise ConfigurationError(
            "a SQLite URL has three slashes before a relative path, and four before an absolute "
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
    """The seconds of `timeout`, whether to `create` missing tables, and the table's name."""
    timeout, create = url.query.get("timeout"), str(url.query.get("create", "true")).lower()
    if create not in YES | NO:
        raise ConfigurationError("the option create of the store's URL is true or false")
    limit = LIMIT_SECONDS if timeout is None else limit_of(str(timeout))
    backend, table, schema = url.get_backend_name(), url.query.get("table"), url.query.get("schema")
    return limit, create in YES, table_name(backend, table, schema)


def _with_arguments(url: URL) -> Target:
    """What a driver is told that a URL cannot say.

    MariaDB's drivers take no isolation level, and no plain `ssl=true`, from a URL. With that, the
    certificate has to be one that the system trusts, and to name the host. psycopg would write
    arrays as text, which takes it twice as long for keys.
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
    from psycopg import adapters  # noqa: PLC0415 - only who has installed it gets here
    from psycopg.adapt import AdaptersMap  # noqa: PLC0415

    own = AdaptersMap(adapters)
    write_arrays_in_binary(own)
    return own


def write_arrays_in_binary(adapters: Any) -> None:
    """Tell adapters of psycopg, such as those of a connection."""
    from psycopg.types.array import ListBinaryDumper  # noqa: PLC0415 - it is installed here

    adapters.register_dumper(list, ListBinaryDumper)
