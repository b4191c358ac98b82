"""`sessions list|show|export|revoke|stats`: sessions by their handle, never by id or key."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from hello_tornado.cli.terminal import (
    AsJson,
    SettingsFile,
    Source,
    StoreUrl,
    console,
    counted,
    errors,
    printable,
    progress,
    with_manager,
)
from hello_tornado.config.durations import duration, words
from hello_tornado.problem import Missing, Problem

if TYPE_CHECKING:
    from hello_tornado.cli.session_filter import Selection
    from hello_tornado.config.settings import Settings
    from hello_tornado.sessions import SessionManager
    from hello_tornado.sessions.records.record import Listed

Shown: TypeAlias = tuple[dict[str, Any], dict[str, Any]]  # facts, data

COLUMNS = ("handle", "user", "created", "last used", "ends in", "bytes")

session_commands = typer.Typer(
    help="List, show, end, count or move sessions.", no_args_is_help=True
)


def _a_user(given: str | None) -> str | None:
    """Refuse a user id that cannot be stored: a terminal may send bytes that are not UTF-8."""
    from hello_tornado.sessions.records.values import check_user_id

    try:
        if given is not None:
            check_user_id(given)
    except ValueError as error:
        raise Problem(str(error), "see: python -m hello_tornado sessions list") from None
    return given


User = Annotated[str | None, typer.Option(help="Only this user's sessions.", callback=_a_user)]
OlderThan = Annotated[
    timedelta | None,
    typer.Option(
        parser=duration, metavar="DURATION", help="Only sessions older than this: 7d, 12h."
    ),
]
IdleFor = Annotated[
    timedelta | None,
    typer.Option(parser=duration, metavar="DURATION", help="Only sessions unused for longer: 30m."),
]


@session_commands.command("list")
def list_sessions(
    *,
    user: User = None,
    older_than: OlderThan = None,
    idle_for: IdleFor = None,
    limit: Annotated[int, typer.Option(min=1, help="The most sessions to list.")] = 50,
    after: Annotated[
        str | None, typer.Option(help="List the sessions after the one with this handle.")
    ] = None,
    settings: SettingsFile = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the sessions that have not ended, ordered by when they end."""

    async def find(manager: "SessionManager", _: "Settings") -> "tuple[int, list[Listed]]":
        from hello_tornado.cli.session_filter import Selection

        start = None if after is None else await _record(manager, after)
        selection = Selection(manager.now(), user, older_than, idle_for)
        return selection.now, await _first(selection.records(manager.store, start), limit + 1)

    from hello_tornado.cli.exports import facts_of

    now, found = with_manager(Source(settings, store), find)
    page, more = found[:limit], found[limit:]
    if as_json:
        console.print_json(
            {
                "sessions": [facts_of(record) for record in page],
                "after": page[-1].handle if more else None,
            }
        )
    else:
        _print_table(page, now)
        if more:
            errors.print(f"there are more: add --after {page[-1].handle}")


async def _first(records: "AsyncIterator[Listed]", count: int) -> "list[Listed]":
    found: list[Listed] = []
    with progress("looking", count) as advance:
        async for record in records:
            found.append(record)
            advance(1)
            if len(found) == count:
                break
    return found


@session_commands.command()
def show(
    handle: str,
    data: Annotated[bool, typer.Option("--data", help="Show the values, too.")] = False,
    settings: SettingsFile = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show one session: its facts, and the keys of its data."""

    async def find(manager: "SessionManager", _: "Settings") -> "Shown":
        from hello_tornado.cli.exports import facts_of
        from hello_tornado.sessions.records.serializers import to_json

        record = await _record(manager, handle)
        session = await manager.find(handle)
        pairs = {} if session is None else dict(session)
        return facts_of(record), {key: to_json(value, key) for key, value in pairs.items()}

    facts, pairs = with_manager(Source(settings, store), find)
    if as_json:
        console.print_json(facts | ({"data": pairs} if data else {"keys": list(pairs)}))
        return
    for name, value in facts.items():
        console.print(f"{name:12}{value}")
    for key, value in pairs.items():
        shown = f" = {value!a}" if data else ""
        console.print(f"{'data':12}{key}{shown}")


@session_commands.command()
def export(
    user: Annotated[str, typer.Option(help="The user's id.", callback=_a_user)],
    settings: SettingsFile = None,
    store: StoreUrl = None,
) -> None:
    """Print all data in the sessions of one user, as JSON."""

    async def find(manager: "SessionManager", _: "Settings") -> list[dict[str, Any]]:
        from hello_tornado.cli.exports import sessions_of

        with progress("exporting") as advance:
            return await sessions_of(manager, user, advance)

    console.print_json({"user": user, "sessions": with_manager(Source(settings, store), find)})


@session_commands.command()
def revoke(
    handles: Annotated[list[str] | None, typer.Argument(metavar="HANDLE...")] = None,
    *,
    user: User = None,
    older_than: OlderThan = None,
    idle_for: IdleFor = None,
    everyone: Annotated[bool, typer.Option("--all", help="All sessions of all users.")] = False,
    settings: SettingsFile = None,
    store: StoreUrl = None,
) -> None:
    """End sessions, by handle or by filter; running servers refuse them at the next request."""
    chosen = user is not None or older_than is not None or idle_for is not None
    if [bool(handles), chosen, everyone].count(True) != 1:
        raise Problem(
            "it is not clear which sessions to revoke",
            "give handles, or any of --user, --older-than and --idle-for, or --all",
        )

    async def end(manager: "SessionManager", _: "Settings") -> "int":
        from hello_tornado.cli.session_filter import Selection

        if handles:
            with progress("revoking"):
                return await manager.revoke(*handles)
        return await _revoke(manager, Selection(manager.now(), user, older_than, idle_for))

    count = with_manager(Source(settings, store), end)
    console.print(f"{counted(count, 'session')} revoked")
    if handles and count < len(set(handles)):
        raise Missing(
            f"no session was found for {len(set(handles)) - count} of the handles",
            "see: python -m hello_tornado sessions list",
        )


async def _revoke(manager: "SessionManager", selection: "Selection") -> int:
    """End the sessions of *selection*; return how many there were."""
    from hello_tornado.cli.session_filter import PAGE

    count = 0
    living = await manager.store.count(manager.now())
    with progress("revoking", living if selection.user is None else None) as advance:
        batch: list[str] = []
        async for record in selection.records(manager.store):
            advance(1)
            batch.append(record.handle)
            if len(batch) == PAGE:
                count += await manager.revoke(*batch)
                batch.clear()
        return count + (await manager.revoke(*batch) if batch else 0)


@session_commands.command()
def stats(settings: SettingsFile = None, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Count the sessions, their users and their bytes."""

    async def add_up(manager: "SessionManager", _: "Settings") -> "dict[str, Any]":
        from hello_tornado.cli.session_filter import Selection, count_expired

        now, store = manager.now(), manager.store
        living = logged_in = size = biggest = 0
        users: set[str] = set()
        with progress("counting", await store.count(now)) as advance:
            async for record in Selection(now).records(store):
                advance(1)
                living += 1
                size += record.size
                biggest = max(biggest, record.size)
                if record.user_id is not None:
                    logged_in += 1
                    users.add(record.user_id)
        return {
            "living": living,
            "logged_in": logged_in,
            "anonymous": living - logged_in,
            "users": len(users),
            "expired": await count_expired(store, now),
            "bytes": size,
            "biggest_bytes": biggest,
        }

    found = with_manager(Source(settings, store), add_up)
    if as_json:
        console.print_json(found)
    else:
        for name, value in found.items():
            console.print(f"{name.replace('_', ' '):15}{value:,}")


def _print_table(records: "Sequence[Listed]", now: int) -> None:
    from rich.cells import cell_len, set_cell_size

    from hello_tornado.sessions.records.lifetimes import MICROSECOND

    def ago(moment: int) -> str:
        return words((now - moment) * MICROSECOND)

    if not records:
        errors.print("there are no such sessions")
        return
    rows = [COLUMNS] + [
        (
            record.handle,
            "-" if record.user_id is None else printable(record.user_id),
            f"{ago(record.created_at)} ago",
            f"{ago(record.accessed_at)} ago",
            words((record.expires_at - now) * MICROSECOND),
            f"{record.size:,}",
        )
        for record in records
    ]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (set_cell_size(text, width) for text, width in zip(row, widths, strict=True))
        console.print("  ".join(cells).rstrip())


async def _record(manager: "SessionManager", handle: str) -> "Listed":
    from hello_tornado.sessions.records.ids import is_handle

    found = await manager.store.find_by_handle([handle]) if is_handle(handle) else []
    if not found:
        raise Missing(
            f"no session has the handle {handle}",
            "see: python -m hello_tornado sessions list",
        )
    return found[0]
