"""`sessions move|copy`: sessions go to another store, under running servers or while none runs."""

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
    """Move what is left in store.moving_from to the store, while servers run."""

    async def run(manager: "SessionManager", _: "Settings") -> int:
        from hello_tornado.sessions.stores.moving import MovingStore

        if not isinstance(manager.store, MovingStore):
            raise Problem(
                "the settings do not say from where",
                "set store.moving_from to the URL of the store before, and restart all servers",
            )
        moved = 0
        with progress("moving", await manager.store.left()) as advance:
            async for count in manager.store.move(BATCH):
                moved += count
                advance(count)
        return moved

    count = with_manager(Source(settings), run)
    console.print(f"{counted(count, 'record')} moved; the old store is empty")
    console.print("take store.moving_from out of the settings, and restart all servers")


@move_commands.command()
def copy(
    origin: Annotated[str, typer.Argument(metavar="FROM", help="The URL of a store.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The URL of another one.")],
) -> None:
    """Copy all sessions to another store, while no server runs on either."""
    if origin == target:
        raise Problem("both URLs are the same", "name the store that the sessions are to go to")
    for url in (origin, target):
        if url.startswith("memory:"):
            raise Problem(
                "a memory store lives in the server's process, and no command can see into it",
                "name a store that lasts, such as sqlite:///var/sessions.db",
            )
        check_database(url)
    copied, left = asyncio.run(_copy(origin, target))
    console.print(f"{counted(copied, 'record')} copied")
    if left:
        console.print(f"{counted(left, 'record')} left as they were: the other store had them")


async def _copy(origin: str, target: str) -> tuple[int, int]:
    """How many records were copied, and how many were left out."""
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
