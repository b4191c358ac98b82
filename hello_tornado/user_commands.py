"""`user add|list|disable|enable|passwd`: who may log in, when `login.mode` is password."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from hello_tornado import migrate
from hello_tornado.accounts import Account, Accounts
from hello_tornado.app import accounts_url, make_manager
from hello_tornado.names import BadName, shown_name
from hello_tornado.passwords import problem_with
from hello_tornado.problem import Problem
from hello_tornado.service import upgrades_itself
from hello_tornado.sessions import open_store
from hello_tornado.sessions.lifetimes import datetime_of
from hello_tornado.settings import Settings, load_settings
from hello_tornado.terminal import (
    AsJson,
    SettingsFile,
    console,
    counted,
    print_json,
    printable,
)

T = TypeVar("T")

user_commands = typer.Typer(help="Who may log in with a password.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user's name, however it is written.")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@user_commands.command()
def add(name: Name, *, password_stdin: FromStdin = False, settings: SettingsFile = None) -> None:
    """Let somebody log in under this name."""
    password = _new_password(_checked(name), is_piped=password_stdin)
    account = _with_accounts(settings, lambda accounts, _: accounts.add(name, password))
    if account is None:
        raise Problem(f"there is a user {_shown(name)} already", "choose another name")
    console.print(f"{printable(account.name)} can log in", markup=False)


@user_commands.command("list")
def list_users(settings: SettingsFile = None, *, as_json: AsJson = False) -> None:
    """Every user, by name."""
    found = _with_accounts(settings, lambda accounts, _: accounts.all())
    if as_json:
        print_json({"users": [_facts(account) for account in found]})
        return
    for account in found:
        state = "can log in" if account.disabled_at is None else "disabled"
        created = datetime_of(account.created_at).strftime("%Y-%m-%d")
        console.print(f"{created}  {state:10}  {printable(account.name)}", markup=False)


@user_commands.command()
def disable(name: Name, settings: SettingsFile = None) -> None:
    """Let nobody log in under this name any more; ends all its sessions at once."""

    async def run(accounts: Accounts, given: Settings) -> str:
        account = await _find(accounts, name)
        await accounts.disable(account.user_id)
        ended = await _sign_out(accounts, account, given)
        return f"{printable(account.name)} is disabled; {ended}"

    console.print(_with_accounts(settings, run), markup=False)


@user_commands.command()
def enable(name: Name, settings: SettingsFile = None) -> None:
    """Let them log in again."""

    async def run(accounts: Accounts, _: Settings) -> str:
        account = await _find(accounts, name)
        await accounts.enable(account.user_id)
        return f"{printable(account.name)} can log in"

    console.print(_with_accounts(settings, run), markup=False)


@user_commands.command()
def passwd(name: Name, *, password_stdin: FromStdin = False, settings: SettingsFile = None) -> None:
    """Give a user another password; ends all their sessions at once."""
    password = _new_password(_checked(name), is_piped=password_stdin)

    async def run(accounts: Accounts, given: Settings) -> str:
        while not await accounts.set_password(account := await _find(accounts, name), password):
            pass  # they have changed it themselves meanwhile: this command came later
        ended = await _sign_out(accounts, account, given)
        return f"{printable(account.name)} has another password; {ended}"

    console.print(_with_accounts(settings, run), markup=False)


def _with_accounts(
    settings_file: Path | None, work: Callable[[Accounts, Settings], Awaitable[T]]
) -> T:
    """What *work* returns, done with the accounts that the settings name."""
    settings = load_settings(settings_file).settings
    url = accounts_url(settings)
    if url is None:
        raise Problem(
            "nobody has an account: login.mode is open", "set login.mode to password first"
        )
    if upgrades_itself(url):
        migrate.upgrade(url)
    else:
        migrate.state(url).check()

    async def run() -> T:
        accounts = Accounts.from_url(url)
        try:
            return await work(accounts, settings)
        finally:
            await accounts.aclose()

    return asyncio.run(run())


async def _find(accounts: Accounts, name: str) -> Account:
    account = await accounts.find(name)
    if account is None:
        raise Problem(f"there is no user {_shown(name)}", "see them with: user list")
    return account


async def _sign_out(accounts: Accounts, account: Account, settings: Settings) -> str:
    """End their sessions; says what became of them."""
    await accounts.sign_out(account.user_id)
    if settings.store.url.startswith("memory:"):
        return "the server ends all sessions of this user"
    manager = make_manager(settings, open_store(settings.store.url), hooks=())
    try:
        return f"{counted(await manager.revoke_user(account.user_id), 'session')} ended"
    finally:
        await manager.aclose()


def _new_password(name: str, *, is_piped: bool) -> bytes:
    if is_piped:
        password = sys.stdin.buffer.read().removesuffix(b"\n").removesuffix(b"\r")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True).encode()
    if (problem := problem_with(password, name)) is not None:
        raise Problem(problem, "choose a longer one: four unusual words will do")
    return password


def _checked(name: str) -> str:
    try:
        return shown_name(name)
    except BadName as error:
        raise Problem(str(error), "a name has 1 to 64 visible characters") from error


def _shown(name: str) -> str:
    return printable(_checked(name))


def _facts(account: Account) -> dict[str, object]:
    return {
        "name": account.name,
        "user_id": account.user_id,
        "created_at": datetime_of(account.created_at).isoformat(),
        "disabled": account.disabled_at is not None,
    }
