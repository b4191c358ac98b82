"""Every store under the one contract."""

from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from redis import Redis

from hello_tornado.database import migrate
from hello_tornado.sessions import Store, open_store
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
    def database(self, postgresql_url: str) -> None:
        self.url = postgresql_url
        migrate.upgrade(self.url)

    def make_store(self) -> Store:
        return open_store(self.url)


class TestAsyncpgStore(TestPostgresqlStore):
    def make_store(self) -> Store:
        return open_store(self.url.replace("postgresql://", "postgresql+asyncpg://"))


class TestPostgresql18Store(TestPostgresqlStore):
    @pytest.fixture(autouse=True)
    def database(self, postgresql_18_url: str) -> None:
        self.url = postgresql_18_url
        migrate.upgrade(self.url)


class TestMariadbStore(StoreContract):
    @pytest.fixture(autouse=True)
    def database(self, mariadb_url: str) -> None:
        self.url = mariadb_url
        migrate.upgrade(self.url)

    def make_store(self) -> Store:
        return open_store(self.url)


class TestMysqlUrlStore(TestMariadbStore):
    def make_store(self) -> Store:
        return open_store(self.url.replace("mariadb://", "mysql://"))


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
