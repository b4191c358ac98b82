"""What only SQLite has to be asked: locks of other processes, and a file that goes away."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hello_tornado.sessions import Store, open_store
from hello_tornado.sessions.errors import StoreMisconfigured, StoreTimeout, StoreUnavailable
from hello_tornado.sessions.records.record import Saved, Swap
from hello_tornado.sessions.testing import make_record, newer

pytestmark = pytest.mark.gen_test(timeout=60)


async def test_stores_that_open_a_new_file_together_wait_for_each_other(tmp_path: Path) -> None:
    for number in range(20):  # without waiting, one in ten fails: "database is locked"
        stores = [open_store(f"sqlite:///{tmp_path}/{number}.db") for _ in range(4)]
        assert await asyncio.gather(*(store.count() for store in stores)) == [0] * 4
        for store in stores:
            await store.aclose()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another connection is in the middle of a write."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


async def until_it_saves(store: Store) -> None:
    async with asyncio.timeout(2):
        while True:
            try:
                assert await store.save([Swap(None, make_record())]) == [Saved()]
            except StoreUnavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_however_many_wait_for_a_lock_all_are_told_in_time(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    store = open_store(f"sqlite:///{path}?timeout=1")
    records = [make_record() for _ in range(8)]
    await store.save([Swap(None, record) for record in records])
    now = asyncio.get_running_loop().time
    with locked(path):
        started = now()
        calls = [store.delete([record.key]) for record in records]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(answer) for answer in answers} == {StoreTimeout}
        assert now() - started < 2, "and not 8 times the limit"
        started = now()
        with pytest.raises(StoreUnavailable):
            await store.save([Swap(None, make_record())])
        assert now() - started < 0.3, "at once: the store is known to hang"
        assert len(await store.load([record.key for record in records])) == 8, "reading goes on"
    await until_it_saves(store)
    assert len(await store.load([record.key for record in records])) >= 7, (
        "of the calls that had to wait behind, none was done later"
    )
    await store.aclose()


@pytest.mark.parametrize("what", ["removed", "replaced"])
async def test_a_file_that_goes_away_is_noticed_before_anything_is_acknowledged(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "s.db"
    store = open_store(f"sqlite:///{path}")
    old = make_record()
    await store.save([Swap(None, old)])
    assert await store.count() == 1
    await store.load([old.key])
    path.rename(tmp_path / "elsewhere.db")
    for name in ("s.db-wal", "s.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    if what == "removed":
        for call in (
            lambda: store.save([Swap(old, newer(old))]),
            lambda: store.load([old.key]),
            store.count,
            lambda: store.save([Swap(None, make_record())]),
        ):
            with pytest.raises(StoreUnavailable, match="was removed or replaced"):
                await call()
        assert not path.exists(), "a new one would hide that the old one is lost"
        errors = [one for one in caplog.records if one.levelno == logging.ERROR]
        assert len(errors) == 3, "one for each connection, and not one for each request"
    other = open_store(f"sqlite:///{path}")
    fresh = make_record()
    assert await other.save([Swap(None, fresh)]) == [Saved()]
    assert await store.load([fresh.key, old.key]) == {fresh.key: fresh}
    assert await store.save([Swap(fresh, newer(fresh))]) == [Saved()]
    assert await other.load([fresh.key]) == {fresh.key: newer(fresh)}
    assert "removed or replaced" in caplog.text
    await store.aclose()
    await other.aclose()


@pytest.mark.parametrize(
    ("damage", "cause"),
    [(b"SQLite format 3\0", "malformed"), (b"This is no database", "file is not a database")],
)
async def test_a_file_that_is_damaged_is_named_and_no_503(
    tmp_path: Path, damage: bytes, cause: str
) -> None:
    path = tmp_path / "s.db"
    store = open_store(f"sqlite:///{path}")
    await store.save([Swap(None, make_record()) for _ in range(200)])
    await store.aclose()
    content = bytearray(path.read_bytes())
    content[: len(damage)] = damage
    for page in range(1, len(content) // 4096):
        content[page * 4096 : page * 4096 + 100] = b"x" * 100
    path.write_bytes(content)
    store = open_store(f"sqlite:///{path}")
    for call in (
        lambda: store.load([make_record().key]),
        lambda: store.save([Swap(None, make_record())]),
    ):
        with pytest.raises(StoreMisconfigured, match=cause):
            await call()
    await store.aclose()
