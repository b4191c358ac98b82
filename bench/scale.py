"""How a store ages: the same questions to ten thousand, a million and ten million sessions.

    python -m bench.scale [STORE…] [--sizes 10000 1000000 10000000] [--purge 1000000]
                          [--seconds 10] [--json FILE]

Each STORE is the URL of an empty database of its own; without one, a new SQLite file and memory. At
every size: the medians of a load, a save, a find by user (who has ten) and a count of the living,
each asked alone, and what a session takes of the disk, or of memory. At the end so many expired
sessions are added, and purged while 32 clients read and write.
"""

import argparse
import asyncio
import gc
import hashlib
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from hello_tornado import runtime
from hello_tornado.database import migrate
from hello_tornado.database.connection import connected
from hello_tornado.sessions import SessionManager, open_store
from hello_tornado.sessions.manager.actions import Issue
from hello_tornado.sessions.records.ids import SessionId, SessionKey, new_handle
from hello_tornado.sessions.records.lifetimes import MICROSECOND, system_clock
from hello_tornado.sessions.records.record import SessionRecord, Swap
from hello_tornado.sessions.stores import Store

AT_ONCE = 1000
CLIENTS = 32
ASKED = 500
DATA = json.dumps({"data": {"username": "Ada", "visits": 1, "theme": "x" * 80}}).encode()
DAY = timedelta(days=1) // MICROSECOND


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scale")
    parser.add_argument("stores", nargs="*", metavar="STORE")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--purge", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=int, default=10, help="under load before and after")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def record(number: int, now: int, lasts: int) -> SessionRecord:
    """The session of this number; ten in a row are one user's."""
    key = SessionKey(hashlib.sha256(number.to_bytes(8, "big")).digest())
    user = f"user{number // 10}"
    moments = {"created_at": now, "accessed_at": now, "expires_at": now + lasts}
    return SessionRecord(
        key=key, handle=new_handle(), version=1, user_id=user, data=DATA, **moments
    )


async def fill(store: Store, numbers: range, lasts: int) -> None:
    """Create these sessions; the last ones last longest."""
    now = system_clock()
    for start in range(numbers.start, numbers.stop, AT_ONCE):
        places = range(start, min(start + AT_ONCE, numbers.stop))
        await store.save([Swap(None, record(number, now, lasts + number)) for number in places])


async def median(ask: Callable[[int], Awaitable[object]], places: Sequence[int]) -> float:
    """Microseconds, of one question after the other."""
    taken = []
    for place in places:
        begun = time.perf_counter()
        await ask(place)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken) * 1e6


async def questions(store: Store, size: int) -> dict[str, float]:
    """How long each takes, in microseconds."""
    places, now = random.sample(range(size), ASKED), system_clock()
    keys = {place: record(place, 0, 0).key for place in places}
    found = {place: (await store.load([keys[place]]))[keys[place]] for place in places}

    async def save(place: int) -> object:
        old = found[place]
        return await store.save([Swap(old, old._replace(version=old.version + 1))])

    return {
        "load": await median(lambda place: store.load([keys[place]]), places),
        "save": await median(save, places),
        "find by user": await median(
            lambda place: store.find_by_user(f"user{place // 10}"), places
        ),
        "count": await median(lambda _: store.count(now), places[:5]),
    }


def bytes_held(url: str) -> int:
    """What the store takes: of the disk with all indexes, or of memory."""
    if url.startswith("memory:"):
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    size = "page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    with connected(url) as connection:
        if connection.dialect.name == "postgresql":
            size = "pg_total_relation_size('sessions')"
        return int(connection.exec_driver_sql(f"SELECT {size}").scalar_one())


async def visitors(manager: SessionManager) -> list[SessionId]:
    """Sessions that are read and written."""
    ids = []
    for _ in range(CLIENTS * 10):
        session = await manager.open(None)
        session["visits"] = 0
        action = await manager.commit(session)
        assert isinstance(action, Issue)
        ids.append(action.session_id)
    return ids


async def latencies(
    manager: SessionManager, ids: Sequence[SessionId], until: Awaitable[object]
) -> list[float]:
    """Of a load and a save in seconds, by 32 clients at once, until something is over."""
    is_over, taken = asyncio.ensure_future(until), []

    async def client() -> None:
        while not is_over.done():
            begun = time.perf_counter()
            session = await manager.open(random.choice(ids))
            session.increment("visits")
            await manager.commit(session)
            taken.append(time.perf_counter() - begun)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    await is_over
    return taken


def p99(taken: Sequence[float]) -> float:
    return statistics.quantiles(taken, n=100)[98] * 1e3


async def purging(store: Store, size: int, count: int, seconds: int) -> dict[str, float]:
    """Milliseconds that 99 of 100 requests stay below: without the purge, with it, and after."""
    manager = SessionManager(store, log=False)
    ids = await visitors(manager)
    await fill(store, range(size, size + count), -DAY - size - count)
    runtime.spare_requests()  # as our server does
    before = p99(await latencies(manager, ids, asyncio.sleep(seconds)))
    begun = time.perf_counter()
    during = p99(await latencies(manager, ids, manager.purge()))
    lasted = time.perf_counter() - begun
    after = p99(await latencies(manager, ids, asyncio.sleep(seconds)))
    lost = size + len(ids) - await store.count()
    return {"before": before, "during": during, "after": after, "seconds": lasted, "lost": lost}


async def measured(url: str, given: argparse.Namespace) -> dict[str, Any]:
    """Everything about one store; prints as it goes."""
    store, held, sizes_done = open_store(url), bytes_held(url), 0
    rows: list[Mapping[str, float]] = []
    print(store, flush=True)
    for size in given.sizes:
        begun = time.perf_counter()
        await fill(store, range(sizes_done, size), DAY)
        filled, sizes_done = time.perf_counter() - begun, size
        answers = await questions(store, size)
        each = (bytes_held(url) - held) / size
        rows.append({"sessions": size, **answers, "bytes": each})
        asked = "".join(f"  {name} {taken:,.0f} us" for name, taken in answers.items())
        print(f"{size:12,}{asked}  {each:.0f} bytes each  (filled in {filled:.0f} s)", flush=True)
    purged = await purging(store, sizes_done, given.purge, given.seconds)
    print(f"      purge of {given.purge:,}: {', '.join(f'{k} {v:.1f}' for k, v in purged.items())}")
    await store.aclose()
    return {"store": url.partition(":")[0], "sizes": rows, "purge": purged}


def main() -> None:
    given, results = options(), []
    with tempfile.TemporaryDirectory() as directory:
        for url in given.stores or [f"sqlite:///{directory}/sessions.db", "memory://"]:
            if not url.startswith("memory:"):
                migrate.upgrade(url)
            results.append(asyncio.run(measured(url, given)))
    if given.json:
        given.json.write_text(json.dumps(results, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
