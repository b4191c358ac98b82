"""The URL schemes of the stores in this package."""

from typing import Final, Literal, NamedTuple, TypeAlias

Family: TypeAlias = Literal["memory", "sqlite", "postgresql", "mariadb", "redis"]

SQL: Final = ("sqlite", "postgresql", "mariadb")
"""The families that have tables."""


class Scheme(NamedTuple):
    """The store for URLs with one scheme.

    - `family`: the kind of the store.
    - `product`: the name of the database.
    - `opens`: a function that takes the URL, as module:function.
    - `extra`: the extra of this package that installs its driver, or None.
    """

    family: Family
    product: str
    opens: str
    extra: str | None = None


_SQL: Final = "hello_tornado.sessions.stores.sql.store:SqlStore.from_url"
_REDIS: Final = "hello_tornado.sessions.stores.redis.store:RedisStore.from_url"

SCHEMES: Final = {
    "memory": Scheme(
        "memory", "memory", "hello_tornado.sessions.stores.memory:MemoryStore.from_url"
    ),
    "sqlite": Scheme("sqlite", "SQLite", _SQL, "sql"),
    "postgres": Scheme("postgresql", "PostgreSQL", _SQL, "postgresql"),
    "postgresql": Scheme("postgresql", "PostgreSQL", _SQL, "postgresql"),
    "mysql": Scheme("mariadb", "MariaDB", _SQL, "mariadb"),
    "mariadb": Scheme("mariadb", "MariaDB", _SQL, "mariadb"),
    "redis": Scheme("redis", "Redis", _REDIS, "redis"),
    "rediss": Scheme("redis", "Redis", _REDIS, "redis"),
    "unix": Scheme("redis", "Redis", _REDIS, "redis"),
    "valkey": Scheme("redis", "Valkey", _REDIS, "redis"),
    "valkeys": Scheme("redis", "Valkey", _REDIS, "redis"),
}
"""Other packages add schemes as entry points in the group `hello_tornado.stores`."""


def scheme_of(url: str) -> str:
    """Return the scheme of a URL without "+" and the driver after it; "" if there is none."""
    return url.partition(":")[0].partition("+")[0].lower() if ":" in url else ""


def family_of(url: str) -> Family | None:
    """Return the kind of store for a URL; None if its scheme is not in `SCHEMES`."""
    known = SCHEMES.get(scheme_of(url))
    return None if known is None else known.family
