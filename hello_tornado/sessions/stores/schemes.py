"""The schemes of our stores' URLs: what opens each, what it is called, and what it needs."""

from typing import Final, Literal, NamedTuple, TypeAlias

Family: TypeAlias = Literal["memory", "sqlite", "postgresql", "mariadb", "redis"]

SQL: Final = ("sqlite", "postgresql", "mariadb")
"""The families that have tables."""


class Scheme(NamedTuple):
    """What a URL that begins with this scheme leads to.

    *opens* names a function of the URL, as module:function. *extra* is what pip installs for it.
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
"""Those of other packages are entry points in the group `hello_tornado.stores`."""


def scheme_of(url: str) -> str:
    """The scheme of a URL, without what stands behind a plus; "" when it has none."""
    return url.partition(":")[0].partition("+")[0].lower() if ":" in url else ""


def family_of(url: str) -> Family | None:
    """Which kind of store a URL leads to; None when its scheme is not in `SCHEMES`."""
    known = SCHEMES.get(scheme_of(url))
    return None if known is None else known.family
