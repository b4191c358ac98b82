"""The databases that the settings name."""

from typing import NamedTuple

from hello_tornado.config.settings import Settings
from hello_tornado.database.connection import has_schema
from hello_tornado.problem import Problem
from hello_tornado.sessions import Store, open_store
from hello_tornado.sessions.stores.schemes import SCHEMES, scheme_of


def store_name(settings: Settings) -> str:
    """Return the name of the store's product, such as "SQLite", for people to read."""
    scheme = scheme_of(settings.store.url)
    if scheme == "memory":
        return "this server's memory"
    return SCHEMES[scheme].product if scheme in SCHEMES else scheme


def accounts_url(settings: Settings) -> str | None:
    """Return the URL of the accounts' database; None when the mode of login is "open".

    Raises `Problem` when this is not a SQL database.
    """
    if settings.login.mode == "open":
        return None
    url = settings.login.accounts_url or settings.store.url
    if not has_schema(url):
        raise Problem(
            f"accounts need a SQL database, and {store_name(settings)} is not one",
            "name one in login.accounts_url: sqlite:///var/accounts.db",
        )
    return url


class Database(NamedTuple):
    """A SQL database that is in use, and whether the accounts are in it."""

    url: str
    accounts: bool


def databases(settings: Settings) -> list[Database]:
    """Return the SQL databases of the sessions and of the accounts, each of them once."""
    of_accounts = accounts_url(settings)
    named = (settings.store.url, settings.store.moving_from, of_accounts)
    urls = dict.fromkeys(url for url in named if url is not None and has_schema(url))
    return [Database(url, url == of_accounts) for url in urls]


def open_sessions(settings: Settings) -> Store:
    """Open the store of the sessions, together with the store that they are moved from, if any.

    Raises `Problem` when that is a memory store.
    """
    old = settings.store.moving_from
    if old is None:
        return open_store(as_it_is(settings.store.url))
    if old.startswith("memory:"):
        raise Problem(
            "store.moving_from names a memory store, which ended with its process",
            "remove store.moving_from from the settings",
        )
    return open_store(as_it_is(settings.store.url), moving_from=as_it_is(old))


def as_it_is(url: str) -> str:
    """Return the URL of a store that makes no tables in a database server: `db upgrade` does."""
    if not has_schema(url) or upgrades_itself(url) or "create=" in url.partition("?")[2]:
        return url
    return f"{url}{'&' if '?' in url else '?'}create=false"


def upgrades_itself(url: str) -> bool:
    """Whether the server brings the schema of this database up to date when it starts."""
    return url.startswith("sqlite")
