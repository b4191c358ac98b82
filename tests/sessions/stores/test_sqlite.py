"""What only SQLite has to be asked."""

import asyncio
from pathlib import Path

import pytest

from hello_tornado.sessions import open_store


@pytest.mark.gen_test
async def test_stores_that_open_a_new_file_together_wait_for_each_other(tmp_path: Path) -> None:
    for number in range(20):  # without waiting, one in ten fails: "database is locked"
        stores = [open_store(f"sqlite:///{tmp_path}/{number}.db") for _ in range(4)]
        assert await asyncio.gather(*(store.count() for store in stores)) == [0] * 4
        for store in stores:
            await store.aclose()
