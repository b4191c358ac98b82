"""What the commands share: where they print, the settings they read, a manager for their work."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from hello_tornado.problem import Missing, Problem

if TYPE_CHECKING:  # a command imports what it needs when it runs: --help should not wait for it
    from hello_tornado.config.settings import Settings
    from hello_tornado.sessions import SessionManager

T = TypeVar("T")

# Nothing that is printed is markup: a name may have brackets, and `:key:` is no emoji.
console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="The settings file. [default: settings.yaml]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def with_manager(
    settings_file: Path | None, work: "Callable[[SessionManager, Settings], Awaitable[T]]"
) -> T:
    """What *work* returns, done with the sessions of the store that the settings name."""
    from hello_tornado.config.settings import load_settings

    settings = load_settings(settings_file).settings
    if settings.store.url.startswith("memory:"):
        raise Problem(
            "a memory store lives in the server's process, and no command can see into it",
            "set store.url to sqlite:///var/sessions.db, or to a server's",
        )
    check_database(settings.store.url)

    async def run() -> T:
        from hello_tornado.managers import make_manager
        from hello_tornado.sessions import open_store

        manager = make_manager(settings, open_store(settings.store.url), hooks=())
        try:
            return await work(manager, settings)
        finally:
            await manager.aclose()

    return asyncio.run(run())


def check_database(url: str, table: str = "sessions") -> None:
    """Raise unless the database of this URL is there, with our *table*.

    Looking makes nothing, and changes nothing in a database of others.
    """
    from hello_tornado.database.connection import has_schema

    if not has_schema(url):
        return
    if url.startswith("sqlite"):
        from hello_tornado.sessions.stores.sql.url import parse

        path = Path(str(parse(url).database))
        if not path.exists():
            raise Missing(
                f"there is no database {path}",
                "set store.url to the one that is meant, or make it: "
                "python -m hello_tornado db upgrade",
            )
        _check_sqlite(path, table)
        return
    from hello_tornado.database import migrate

    migrate.state(url).check()


def _check_sqlite(path: Path, table: str) -> None:
    import sqlite3
    from contextlib import closing

    from hello_tornado.accounts.tables import columns_of

    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            found = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
    except sqlite3.Error as error:
        raise Problem(
            f"{path} cannot be read as a database: {error}",
            "set store.url to the one that is meant, or restore a backup",
        ) from None
    if not found:
        raise Missing(
            f"the database {path} has no table {table}",
            "set store.url to the one that is meant, or make its tables: "
            "python -m hello_tornado db upgrade",
        )
    if not found >= columns_of(table):
        raise Problem(
            f"the table {table} of {path} is not ours, or not up to date",
            "set store.url to the one that is meant, or run: python -m hello_tornado db upgrade",
        )


def print_json(value: Any) -> None:
    """One JSON document, safe in any terminal: what is not ASCII is escaped."""
    console.out(json.dumps(value, indent=2), highlight=False)


def printable(text: str) -> str:
    """*text* without what a terminal would obey, or show in another order than it is."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


@contextmanager
def progress(doing: str, total: int | None = None) -> Iterator[Callable[[int], object]]:
    """Show a bar while a block is at work; yields what tells of so many more that are done.

    Without a *total* the bar only moves. It is for people: it leaves nothing behind, and pipes see
    none of it.
    """
    if not errors.is_terminal:
        yield lambda _count: None
        return
    from rich.progress import Progress

    with Progress(console=errors, transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield partial(bar.advance, task)


def counted(count: int, thing: str) -> str:
    """A number of things: "1 session", "2,000 sessions"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
