"""What the commands share: output, settings and a session manager."""

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

if TYPE_CHECKING:  # commands import these when they run, so that --help does not wait for them
    from hello_tornado.config.settings import Loaded, Settings
    from hello_tornado.sessions import SessionManager

T = TypeVar("T")


class Screen:
    """Prints lines to standard output or standard error; all output of the commands goes here.

    Control characters are escaped, so a terminal shows them and does not obey them. A pipe whose
    reader has closed it is not an error. Any other failure, such as a full disk, is a `Problem`,
    unless the output is only a note about the work (*is_note*): then the work goes on.
    """

    def __init__(self, name: str, *, is_note: bool = False) -> None:
        self._name = name
        self._is_note = is_note

    def print(self, line: str) -> None:
        """Print one line."""
        self._write(printable(line) + "\n")

    def print_json(self, value: Any) -> None:
        """Print *value* as JSON; characters outside of ASCII are escaped."""
        self._write(json.dumps(value, indent=2) + "\n")

    @property
    def is_terminal(self) -> bool:
        """Whether the output goes to a terminal."""
        stream = getattr(sys, self._name)
        return stream is not None and bool(stream.isatty())

    def _write(self, text: str) -> None:
        stream = getattr(sys, self._name)
        if stream is None:  # it was closed when the program began
            return
        try:
            # Characters outside of the encoding, as with PYTHONIOENCODING=ascii, are escaped.
            encoding = stream.encoding or "utf-8"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except OSError as error:
            # The rest of the buffer must not fail a second time when the program exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if not (self._is_note or isinstance(error, BrokenPipeError)):
                raise Problem(
                    f"the output cannot be written: {error.strerror}",
                    "free space at its destination, or redirect it to another one",
                ) from error


console = Screen("stdout")
notes = Screen("stdout", is_note=True)
errors = Screen("stderr", is_note=True)

SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="The settings file; by default settings.yaml.")
]
StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="The store; overrides the settings.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Source(NamedTuple):
    """Where a command's settings come from: a file, and the URL of a store that overrides it."""

    file: Path | None = None
    store: str | None = None

    def load(self, **overrides: Any) -> "Loaded":
        """Load the settings; *overrides* are other options of the command line."""
        from hello_tornado.config.settings import load_settings

        if self.store is not None:
            overrides["store"] = {"url": self.store, "moving_from": None}
        return load_settings(self.file, **overrides)

    def arguments(self) -> list[str]:
        """Return the options that give another command the same source."""
        given = {"--settings": self.file, "--store": self.store}
        return [word for name, value in given.items() if value for word in (name, str(value))]


def with_manager(source: Source, work: "Callable[[SessionManager, Settings], Awaitable[T]]") -> T:
    """Run *work* with a manager over the store in the settings, and return its result.

    Raises `Problem` for a memory store, or as `check_database` does.
    """
    settings = source.load().settings
    if settings.store.url.startswith("memory:"):
        raise Problem(
            "a memory store is in the server's process, where no command can read it",
            "set store.url to sqlite:///var/sessions.db, or to the URL of a database server",
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
    """Raise unless the database has its table of sessions; with *accounts*, that of accounts.

    Nothing is created or changed in the database. Raises `Missing` when the database or the table
    does not exist, and `Problem` when the table has other columns or the database fails.
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
            "set store.url to the database you mean, or create its tables: "
            "python -m hello_tornado db upgrade",
        )
    if not found >= {*described.columns.keys()}:
        raise Problem(
            f"the table {table} of {name} is another program's, or not up to date",
            "set store.url to the database you mean, or run: python -m hello_tornado db upgrade",
        )


def _columns(url: str, table: str) -> tuple[str, set[str]]:
    """Return the name of a database for messages, and the names of the columns of a table."""
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
            "set store.url to the database you mean, or create it: "
            "python -m hello_tornado db upgrade",
        )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT * FROM pragma_table_info(?)", (table,)).fetchall()
    except sqlite3.Error as error:
        raise Problem(
            f"{path} cannot be read as a database: {error}",
            "set store.url to the database you mean, or restore a backup",
        ) from None
    return str(path), {row[1] for row in rows}


def printable(text: str) -> str:
    r"""Escape the characters that a terminal would obey or show in another order.

    A byte of a file's name that is not UTF-8 becomes an escape such as `\xff`.
    """
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    is_byte = "\udc80" <= one <= "\udcff"  # how os.fsdecode() returns such a byte
    return f"\\x{ord(one) - 0xDC00:02x}" if is_byte else ascii(one)[1:-1]


@contextmanager
def progress(doing: str, total: int | None = None) -> Iterator[Callable[[int], object]]:
    """Show a progress bar while a block runs; yields a function that advances it by a count.

    Without a *total* the bar only moves. It is removed at the end, and is shown only if standard
    error is a terminal.
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
    """Return a number of things: "1 session", "2,000 sessions"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
