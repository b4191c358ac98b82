"""What the commands share: where they print, the settings they read, a manager for their work."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from hello_tornado.problem import Missing, Problem

if TYPE_CHECKING:  # a command imports what it needs when it runs: --help should not wait for it
    from hello_tornado.config.settings import Loaded, Settings
    from hello_tornado.sessions import SessionManager

T = TypeVar("T")


class Screen:
    """Standard output or standard error, a line at a time: all that the commands print.

    Whatever is in a line, a terminal shows it and obeys nothing of it. Who closes a pipe has read
    enough, which is no error. Another failure, such as a full disk, is a `Problem`, unless what is
    printed is only a note (*is_note*): the work that it tells of goes on.
    """

    def __init__(self, name: str, *, is_note: bool = False) -> None:
        self._name = name
        self._is_note = is_note

    def print(self, line: str) -> None:
        """Show one line."""
        self._write(printable(line) + "\n")

    def print_json(self, value: Any) -> None:
        """Show a JSON document, safe in any terminal: what is not ASCII is escaped."""
        self._write(json.dumps(value, indent=2) + "\n")

    @property
    def is_terminal(self) -> bool:
        """Whether a person looks at it."""
        stream = getattr(sys, self._name)
        return stream is not None and bool(stream.isatty())

    def _write(self, text: str) -> None:
        stream = getattr(sys, self._name)
        if stream is None:  # it was closed when the program began
            return
        try:
            # What it cannot show, as with PYTHONIOENCODING=ascii, it shows as an escape.
            encoding = stream.encoding or "utf-8"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except OSError as error:
            # What is still in the buffer must not fail a second time when the program ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if not (self._is_note or isinstance(error, BrokenPipeError)):
                raise Problem(
                    f"the output cannot be written: {error.strerror}",
                    "make room where it goes, or send it elsewhere",
                ) from error


console = Screen("stdout")
notes = Screen("stdout", is_note=True)
errors = Screen("stderr", is_note=True)

SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="The settings file. [default: settings.yaml]")
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The store, whatever the settings say.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Source(NamedTuple):
    """Where a command's settings come from: a file, and the URL of a store in place of its own."""

    file: Path | None = None
    store: str | None = None

    def load(self, **overrides: Any) -> "Loaded":
        """The settings; *overrides* are from the command line, too."""
        from hello_tornado.config.settings import load_settings

        if self.store is not None:
            overrides["store"] = {"url": self.store, "moving_from": None}
        return load_settings(self.file, **overrides)

    def arguments(self) -> list[str]:
        """The options that say the same to another command."""
        given = {"--settings": self.file, "--store": self.store}
        return [word for name, value in given.items() if value for word in (name, str(value))]


def with_manager(source: Source, work: "Callable[[SessionManager, Settings], Awaitable[T]]") -> T:
    """What *work* returns, done with the sessions of the store that the settings name."""
    settings = source.load().settings
    if settings.store.url.startswith("memory:"):
        raise Problem(
            "a memory store lives in the server's process, and no command can see into it",
            "set store.url to sqlite:///var/sessions.db, or to a server's",
        )
    check_database(settings.store.url)
    if settings.store.moving_from is not None:
        check_database(settings.store.moving_from)

    async def run() -> T:
        from hello_tornado.database.databases import open_sessions
        from hello_tornado.managers import make_manager

        manager = make_manager(settings, open_sessions(settings), log=False)
        try:
            return await work(manager, settings)
        finally:
            await manager.aclose()

    return asyncio.run(run())


def check_database(url: str, *, accounts: bool = False) -> None:
    """Raise unless the database of this URL is there, with its table of sessions, or of accounts.

    Looking makes nothing, and changes nothing in a database of others.
    """
    from hello_tornado.database.connection import has_schema

    if not has_schema(url):
        return
    from hello_tornado.accounts.tables import users
    from hello_tornado.sessions.stores.sql.schema import sessions_table
    from hello_tornado.sessions.stores.sql.url import table_of

    described = users if accounts else sessions_table(table_of(url))
    table = str(described.name)
    name, found = _columns(url, table)
    if not found:
        raise Missing(
            f"the database {name} has no table {table}",
            "set store.url to the one that is meant, or make its tables: "
            "python -m hello_tornado db upgrade",
        )
    if not found >= {*described.columns.keys()}:
        raise Problem(
            f"the table {table} of {name} is not ours, or not up to date",
            "set store.url to the one that is meant, or run: python -m hello_tornado db upgrade",
        )


def _columns(url: str, table: str) -> tuple[str, set[str]]:
    """The name of a database for messages, and the names of the columns of one of its tables."""
    if not url.startswith("sqlite"):
        from hello_tornado.database import migrate
        from hello_tornado.sessions.stores import without_password

        return without_password(url), migrate.columns(url, table)
    import sqlite3
    from contextlib import closing

    from hello_tornado.sessions.stores.sql.url import parse

    path = Path(str(parse(url).database))
    if not path.exists():
        raise Missing(
            f"there is no database {path}",
            "set store.url to the one that is meant, or make it: "
            "python -m hello_tornado db upgrade",
        )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT * FROM pragma_table_info(?)", (table,)).fetchall()
    except sqlite3.Error as error:
        raise Problem(
            f"{path} cannot be read as a database: {error}",
            "set store.url to the one that is meant, or restore a backup",
        ) from None
    return str(path), {row[1] for row in rows}


def printable(text: str) -> str:
    r"""*text* without what a terminal would obey, or show in another order than it is.

    A byte of a file's name that is no UTF-8 is shown as such: `\xff`.
    """
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    is_byte = "\udc80" <= one <= "\udcff"  # as os.fsdecode() has it
    return f"\\x{ord(one) - 0xDC00:02x}" if is_byte else ascii(one)[1:-1]


@contextmanager
def progress(doing: str, total: int | None = None) -> Iterator[Callable[[int], object]]:
    """Show a bar while a block is at work; yields what tells of so many more that are done.

    Without a *total* the bar only moves. It is for people: it leaves nothing behind, and pipes see
    none of it.
    """
    if not errors.is_terminal:
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield partial(bar.advance, task)


def counted(count: int, thing: str) -> str:
    """A number of things: "1 session", "2,000 sessions"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
