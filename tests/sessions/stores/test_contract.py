"""Every store under the one contract."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from hello_tornado.sessions import Store, open_store
from hello_tornado.sessions.stores.sql import metadata, with_driver
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


def make_tables(url: str) -> None:
    async def make() -> None:
        engine = create_async_engine(with_driver(url))
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        await engine.dispose()

    asyncio.run(make())


class TestPostgresqlStore(StoreContract):
    @pytest.fixture(autouse=True)
    def database(self, postgresql_url: str) -> None:
        self.url = postgresql_url
        make_tables(self.url)

    def make_store(self) -> Store:
        return open_store(self.url)


class TestAsyncpgStore(TestPostgresqlStore):
    def make_store(self) -> Store:
        return open_store(self.url.replace("postgresql://", "postgresql+asyncpg://"))


class TestMariadbStore(StoreContract):
    @pytest.fixture(autouse=True)
    def database(self, mariadb_url: str) -> None:
        self.url = mariadb_url
        make_tables(self.url)

    def make_store(self) -> Store:
        return open_store(self.url)


class TestMysqlUrlStore(TestMariadbStore):
    def make_store(self) -> Store:
        return open_store(self.url.replace("mariadb://", "mysql://"))
