"""Both stores under the one contract."""

from pathlib import Path

import pytest

from hello_tornado.sessions import Store, open_store
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
