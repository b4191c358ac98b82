"""Which databases the settings name, and what people call them."""

from typing import Final

from hello_tornado.config.settings import Settings
from hello_tornado.database.connection import has_schema
from hello_tornado.problem import Problem

STORE_NAMES: Final = {
    "memory": "this server's memory",
    "sqlite": "SQLite",
    "postgres": "PostgreSQL",
    "postgresql": "PostgreSQL",
    "mysql": "MariaDB",
    "mariadb": "MariaDB",
    "redis": "Redis",
    "rediss": "Redis",
    "unix": "Redis",
    "valkey": "Valkey",
    "valkeys": "Valkey",
}


def store_name(settings: Settings) -> str:
    """What people call the store in which the sessions are kept."""
    scheme = settings.store.url.partition("://")[0].partition("+")[0]
    return STORE_NAMES.get(scheme, scheme)


def accounts_url(settings: Settings) -> str | None:
    """The database of the accounts; None when nobody has one."""
    if settings.login.mode == "open":
        return None
    url = settings.login.accounts_url or settings.store.url
    if not has_schema(url):
        raise Problem(
            f"accounts need a SQL database, and {store_name(settings)} is none",
            "name one in login.accounts_url: sqlite:///var/accounts.db",
        )
    return url


def database_urls(settings: Settings) -> list[str]:
    """The SQL databases that are in use, each once: of the sessions, and of the accounts."""
    named = (settings.store.url, accounts_url(settings))
    return list(dict.fromkeys(url for url in named if url is not None and has_schema(url)))


def upgrades_itself(url: str) -> bool:
    """Whether the server brings the schema of this database up to date when it starts."""
    return url.startswith("sqlite")
