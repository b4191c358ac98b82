"""`users add|list|…|set-password|delete`: the users who log in with a password."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hello_tornado.cli.terminal import (
    AsJson,
    SettingsFile,
    Source,
    StoreUrl,
    check_database,
    console,
    counted,
    progress,
)
from hello_tornado.problem import INTERRUPTED, Missing, Problem

if TYPE_CHECKING:
    from hello_tornado.accounts.accounts import Account, Accounts
    from hello_tornado.config.settings import Settings
    from hello_tornado.sessions import SessionManager

T = TypeVar("T")

user_commands = typer.Typer(
    help="Manage the users who log in with a password.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="The user's name; case does not matter.")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@user_commands.command()
def add(
    name: Name,
    *,
    password_stdin: FromStdin = False,
    settings: SettingsFile = None,
    store: StoreUrl = None,
) -> None:
    """Add a user who can log in with a password."""
    password = _new_password(_checked(name), is_piped=password_stdin)
    account = _with_accounts(
        Source(settings, store),
        lambda accounts, _: accounts.add(name, password),
        makes_database=True,
    )
    if account is None:
        raise Problem(f"user {_checked(name)} already exists", "choose another name")
    console.print(f"{account.name} can log in")


@user_commands.command("list")
def list_users(
    settings: SettingsFile = None, store: StoreUrl = None, *, as_json: AsJson = False
) -> None:
    """List all users by name."""
    found = _with_accounts(Source(settings, store), lambda accounts, _: accounts.all())
    if as_json:
        console.print_json({"users": [_facts(account) for account in found]})
        return
    from hello_tornado.sessions.records.lifetimes import datetime_of

    for account in found:
        state = "can log in" if account.disabled_at is None else "disabled"
        created = datetime_of(account.created_at).strftime("%Y-%m-%d")
        console.print(f"{created}  {state:10}  {account.name}")


@user_commands.command()
def disable(name: Name, settings: SettingsFile = None, store: StoreUrl = None) -> None:
    """Refuse logins of a user from now on, and end all their sessions at once."""

    async def run(accounts: "Accounts", given: "Settings") -> str:
        account = await _find(accounts, name)
        await accounts.disable(account.user_id)
        ended = await _sign_out(accounts, account, given)
        return f"{account.name} is disabled; {ended}"

    console.print(_with_accounts(Source(settings, store), run))


@user_commands.command()
def enable(name: Name, settings: SettingsFile = None, store: StoreUrl = None) -> None:
    """Allow a disabled user to log in again."""

    async def run(accounts: "Accounts", _: "Settings") -> str:
        account = await _find(accounts, name)
        await accounts.enable(account.user_id)
        return f"{account.name} can log in"

    console.print(_with_accounts(Source(settings, store), run))


@user_commands.command("set-password")
def set_password(
    name: Name,
    *,
    password_stdin: FromStdin = False,
    settings: SettingsFile = None,
    store: StoreUrl = None,
) -> None:
    """Give a user another password, and end all their sessions at once."""
    password = _new_password(_checked(name), is_piped=password_stdin)

    async def run(accounts: "Accounts", given: "Settings") -> str:
        while not await accounts.set_password(account := await _find(accounts, name), password):
            pass  # the user has just changed it; this command came later, so it tries again
        ended = await _sign_out(accounts, account, given)
        return f"{account.name} has another password; {ended}"

    console.print(_with_accounts(Source(settings, store), run))


@user_commands.command()
def export(name: Name, settings: SettingsFile = None, store: StoreUrl = None) -> None:
    """Print all data about a user and their sessions as JSON, except the password's hash."""

    async def run(accounts: "Accounts", given: "Settings") -> dict[str, Any]:
        from hello_tornado.cli.exports import sessions_of

        account = await _find(accounts, name)
        if given.store.url.startswith("memory:"):
            raise Problem(
                "the sessions are in the server's memory, where no command can read them",
                "set store.url to sqlite:///var/sessions.db, or to the URL of a database server",
            )
        with progress("exporting") as advance:
            sessions = await _with_sessions(
                given, lambda manager: sessions_of(manager, account.user_id, advance)
            )
        return {"account": _facts(account), "sessions": sessions}

    console.print_json(_with_accounts(Source(settings, store), run))


@user_commands.command()
def delete(name: Name, settings: SettingsFile = None, store: StoreUrl = None) -> None:
    """Delete a user, and end all their sessions at once."""

    async def run(accounts: "Accounts", given: "Settings") -> str:
        account = await _find(accounts, name)
        if given.store.url.startswith("memory:"):
            raise Problem(
                "the sessions are in the server's memory, where no command can end them",
                "disable the user instead: the server sees that",
            )
        await accounts.delete(account.user_id)  # first, so that no new session can follow
        ended = await _revoke_all(account, given)
        return f"{account.name} is deleted; {counted(ended, 'session')} ended"

    console.print(_with_accounts(Source(settings, store), run))


def _with_accounts(
    source: Source,
    work: "Callable[[Accounts, Settings], Awaitable[T]]",
    *,
    makes_database: bool = False,
) -> T:
    """Run *work* with the accounts in the settings, and return its result."""
    from hello_tornado.database.databases import accounts_url, as_it_is, upgrades_itself

    settings = source.load().settings
    url = accounts_url(settings)
    if url is None:
        raise Problem(
            "there are no accounts: login.mode is open", "set login.mode to password first"
        )
    if makes_database and upgrades_itself(url):
        from hello_tornado.database import migrate

        migrate.upgrade(url, accounts=True)
    else:
        check_database(url, accounts=True)

    async def run() -> T:
        from hello_tornado.accounts.accounts import Accounts

        accounts = Accounts.from_url(as_it_is(url))
        try:
            return await work(accounts, settings)
        finally:
            await accounts.aclose()

    return asyncio.run(run())


async def _with_sessions(
    settings: "Settings", work: "Callable[[SessionManager], Awaitable[T]]"
) -> T:
    from hello_tornado.database.databases import open_sessions
    from hello_tornado.managers import make_manager

    manager = make_manager(settings, open_sessions(settings), log=False)
    try:
        return await work(manager)
    finally:
        await manager.aclose()


async def _find(accounts: "Accounts", name: str) -> "Account":
    account = await accounts.find(name)
    if account is None:
        raise Missing(
            f"there is no user {_checked(name)}", "see: python -m hello_tornado users list"
        )
    return account


async def _sign_out(accounts: "Accounts", account: "Account", settings: "Settings") -> str:
    """End all sessions of a user; return the words that say so."""
    await accounts.sign_out(account.user_id)
    if settings.store.url.startswith("memory:"):
        return "the server ends all sessions of this user"
    return f"{counted(await _revoke_all(account, settings), 'session')} ended"


async def _revoke_all(account: "Account", settings: "Settings") -> int:
    with progress("ending sessions"):
        return await _with_sessions(settings, lambda manager: manager.revoke_user(account.user_id))


def _new_password(name: str, *, is_piped: bool) -> bytes:
    from hello_tornado.accounts.passwords import problem_with

    if is_piped:
        password = sys.stdin.buffer.read().removesuffix(b"\n").removesuffix(b"\r")
    else:
        password = _asked_password()
    if (problem := problem_with(password, name)) is not None:
        raise Problem(problem, "choose a longer one: four unusual words are enough")
    return password


def _asked_password() -> bytes:
    try:
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True)).encode()
    except typer.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise typer.Exit(INTERRUPTED) from None
        raise


def _checked(name: str) -> str:
    from hello_tornado.accounts.usernames import BadName, shown_name

    try:
        return shown_name(name)
    except BadName as error:
        raise Problem(str(error), "a name has 1 to 64 visible characters") from error


def _facts(account: "Account") -> dict[str, object]:
    from hello_tornado.sessions.records.lifetimes import datetime_of

    return {
        "name": account.name,
        "user_id": account.user_id,
        "created_at": datetime_of(account.created_at).isoformat(),
        "disabled": account.disabled_at is not None,
        "disabled_at": _moment(account.disabled_at),
        "signed_out_at": _moment(account.signed_out_at),
    }


def _moment(moment: int | None) -> str | None:
    from hello_tornado.sessions.records.lifetimes import datetime_of

    return None if moment is None else datetime_of(moment).isoformat()
