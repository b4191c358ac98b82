"""Every store under the one contract."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from databases import mariadb_database, run
from every_store import UrlOf
from prometheus_client import CollectorRegistry
from redis import Redis
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

from hello_tornado.database import migrate
from hello_tornado.sessions import SqlStore, Store, open_store
from hello_tornado.sessions.metrics import SessionMetrics
from hello_tornado.sessions.testing import StoreContract


class TestMemoryStore(StoreContract):
    def make_store(self) -> Store:
        return open_store("memory://")


class TestSqliteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def file(self, tmp_path: Path) -> None:
        self.url = f"sqlite:///{tmp_path}/var/sessions.db"

    def make_store(self) -> Store:
        return open_store(self.url)


class TestPostgresqlStore(StoreContract):
    @pytest.fixture(autouse=True)
    def database(self, url_of: UrlOf) -> None:
        self.url = url_of("postgresql")

    def make_store(self) -> Store:
        return open_store(self.url)


class TestAsyncpgStore(TestPostgresqlStore):
    def make_store(self) -> Store:
        return open_store(self.url.replace("postgresql://", "postgresql+asyncpg://"))


class TestPostgresql18Store(TestPostgresqlStore):
    @pytest.fixture(autouse=True)
    def database(self, url_of: UrlOf) -> None:
        self.url = url_of("postgresql_18")


class TestMariadbStore(StoreContract):
    @pytest.fixture(autouse=True)
    def database(self, url_of: UrlOf) -> None:
        self.url = url_of("mariadb")

    def make_store(self) -> Store:
        return open_store(self.url)


class TestMysqlUrlStore(TestMariadbStore):
    def make_store(self) -> Store:
        return open_store(self.url.replace("mariadb://", "mysql://"))


class TestSqliteTable(TestSqliteStore):
    def make_store(self) -> Store:
        return open_store(self.url, table='My "own" table')


class TestPostgresqlTable(StoreContract):
    """Its table is in a schema of its own, beside another store's."""

    @pytest.fixture(autouse=True)
    def database(self, postgresql_url: str) -> None:
        self.url = postgresql_url
        run(self.url, 'CREATE SCHEMA "Order"')
        migrate.upgrade(f"{self.url}?table=user&schema=Order")

    def make_store(self) -> Store:
        return open_store(self.url, table="user", schema="Order")


class TestMariadbTable(StoreContract):
    """Its table is in another database than that of its connections."""

    @pytest.fixture(autouse=True)
    def database(self, mariadb_server: URL, mariadb_url: str) -> Iterator[None]:
        self.url = mariadb_url
        with mariadb_database(mariadb_server) as self.schema:
            migrate.upgrade(f"{self.url}?table=order&schema={self.schema}")
            yield

    def make_store(self) -> Store:
        return open_store(self.url, table="order", schema=self.schema)


class TestPsycopgEngine(StoreContract):
    """In the database of an engine that does much of what it does differently from ours."""

    driver = "postgresql+psycopg"

    @pytest.fixture(autouse=True)
    def database(self, postgresql_url: str) -> None:
        self.url = postgresql_url
        run(self.url, "CREATE SCHEMA app")

    def make_store(self) -> Store:
        url = self.url.replace("postgresql", self.driver, 1)
        engine = create_async_engine(url, isolation_level="SERIALIZABLE", pool_size=1)
        return SqlStore.from_engine(engine, table="app_sessions", schema="app")


class TestAsyncpgEngine(TestPsycopgEngine):
    driver = "postgresql+asyncpg"


class TestAsyncmyEngine(StoreContract):
    """Its sessions are in a mode in which quotes and backslashes mean something else."""

    @pytest.fixture(autouse=True)
    def database(self, mariadb_url: str) -> None:
        self.url = mariadb_url

    def make_store(self) -> Store:
        mode = "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'"
        engine = create_async_engine(
            self.url.replace("mariadb", "mariadb+asyncmy", 1),
            isolation_level="SERIALIZABLE",
            connect_args={"init_command": mode},
        )
        return SqlStore.from_engine(engine, table="App sessions")


class TestRedisStore(StoreContract):
    @pytest.fixture(autouse=True)
    def database(self, redis_url: str) -> None:
        self.url = redis_url

    def make_store(self) -> Store:
        return open_store(self.url)


class TestValkey9Store(TestRedisStore):
    @pytest.fixture(autouse=True)
    def database(self, valkey_9_url: str) -> None:
        self.url = valkey_9_url


class TestRedisClusterStore(TestRedisStore):
    @pytest.fixture(autouse=True)
    def database(self, redis_cluster_url: str) -> None:
        self.url = redis_cluster_url


class TestObservedStore(StoreContract):
    """Whose calls are counted."""

    def make_store(self) -> Store:
        return SessionMetrics(CollectorRegistry()).observed(open_store("memory://"))


def test_the_newest_servers_are_those_that_ci_names(
    postgresql_18_url: str, valkey_9_server: str
) -> None:
    with psycopg.connect(postgresql_18_url) as connection:
        assert connection.info.server_version // 10_000 == 18
    with Redis(port=urlsplit(valkey_9_server).port or 0) as client:
        assert client.info("server")["valkey_version"].startswith("9.")
