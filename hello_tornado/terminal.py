"""What the commands share: where they print, the settings they read, a manager for their work."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from hello_tornado import migrate
from hello_tornado.app import database_urls, make_manager
from hello_tornado.problem import Problem
from hello_tornado.service import upgrades_itself
from hello_tornado.sessions import SessionManager, open_store
from hello_tornado.settings import Settings, load_settings

T = TypeVar("T")

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="The settings file. [default: settings.yaml]")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def with_manager(
    settings_file: Path | None, work: Callable[[SessionManager, Settings], Awaitable[T]]
) -> T:
    """What *work* returns, done with the sessions of the store that the settings name."""
    settings = load_settings(settings_file).settings
    if settings.store.url.startswith("memory:"):
        raise Problem(
            "a memory store lives in the server's process, and no command can see into it",
            "set store.url to sqlite:///var/sessions.db, or to a server's",
        )
    for url in database_urls(settings):
        if not upgrades_itself(url):
            migrate.state(url).check()

    async def run() -> T:
        manager = make_manager(settings, open_store(settings.store.url), hooks=())
        try:
            return await work(manager, settings)
        finally:
            await manager.aclose()

    return asyncio.run(run())


def print_json(value: Any) -> None:
    """One JSON document, safe in any terminal: what is not ASCII is escaped."""
    console.out(json.dumps(value, indent=2), highlight=False)


def printable(text: str) -> str:
    """*text* without what a terminal would obey, or show in another order than it is."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def progress_bar() -> Progress:
    """A bar for people; it leaves nothing behind, and pipes see none of it."""
    return Progress(console=errors, transient=True, disable=not errors.is_terminal)


def counted(count: int, thing: str) -> str:
    """A number of things: "1 session", "2,000 sessions"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
