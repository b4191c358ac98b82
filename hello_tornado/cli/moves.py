"""`sessions move|copy`: to another store, while servers run (move) or while none runs (copy)."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from hello_tornado.cli.terminal import (
    SettingsFile,
    Source,
    check_database,
    console,
    counted,
    progress,
    with_manager,
)
from hello_tornado.problem import Problem

if TYPE_CHECKING:
    from hello_tornado.config.settings import Settings
    from hello_tornado.sessions import SessionManager

BATCH = 250

move_commands = typer.Typer()


@move_commands.command()
def move(settings: SettingsFile = None) -> None:
    """Move the remaining sessions from store.moving_from to the store, while servers run."""

    async def run(manager: "SessionManager", _: "Settings") -> int:
        from hello_tornado.sessions.stores.moving import MovingStore

        if not isinstance(manager.store, MovingStore):
            raise Problem(
                "store.moving_from is not set",
                "set store.moving_from to the URL of the old store, and restart all servers",
            )
        moved = 0
        with progress("moving", await manager.store.left()) as advance:
            async for count in manager.store.move(BATCH):
                moved += count
                advance(count)
        return moved

    count = with_manager(Source(settings), run)
    console.print(f"{counted(count, 'record')} moved; the old store is empty")
    console.print("remove store.moving_from from the settings, and restart all servers")


@move_commands.command()
def copy(
    origin: Annotated[str, typer.Argument(metavar="FROM", help="The URL of the old store.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The URL of the new store.")],
) -> None:
    """Copy all sessions to another store, while no server uses either of them."""
    if origin == target:
        raise Problem("both URLs are the same", "give the URL of the new store as TO")
    for url in (origin, target):
        if url.startswith("memory:"):
            raise Problem(
                "a memory store is in the server's process, where no command can read it",
                "name a persistent store, such as sqlite:///var/sessions.db",
            )
        check_database(url)
    copied, left = asyncio.run(_copy(origin, target))
    console.print(f"{counted(copied, 'record')} copied")
    if left:
        console.print(f"{counted(left, 'record')} skipped: already in the new store")


async def _copy(origin: str, target: str) -> tuple[int, int]:
    """Copy the records; return how many were copied, and how many the new store had already."""
    from hello_tornado.database.databases import as_it_is
    from hello_tornado.sessions import open_store
    from hello_tornado.sessions.stores.moving import copies

    one, other = open_store(as_it_is(origin)), open_store(as_it_is(target))
    copied = left = 0
    try:
        with progress("copying", await one.count()) as advance:
            async for page in copies(one, other, BATCH):
                copied += page.copied
                left += page.left
                advance(sum(page))
    finally:
        await one.aclose()
        await other.aclose()
    return copied, left
