"""`config init|show|check`: the effective settings."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hello_tornado.cli.terminal import AsJson, SettingsFile, Source, StoreUrl, console
from hello_tornado.problem import Problem, Problems

if TYPE_CHECKING:
    from hello_tornado.config.settings import Settings

config_commands = typer.Typer(help="Write, show or check the settings.", no_args_is_help=True)


@config_commands.command("init")
def init_config(
    path: Annotated[Path, typer.Argument(help="The new file.")] = Path("settings.yaml"),
) -> None:
    """Write a settings file with every setting, its default and its meaning."""
    from hello_tornado import resource

    text = resource("settings.yaml").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Problem(f"{path} exists already", "name another file") from None
    console.print(f"{path} has every setting, with its default")


@config_commands.command("show")
def show_config(
    settings: SettingsFile = None, store: StoreUrl = None, *, as_json: AsJson = False
) -> None:
    """Show every setting, its value and where the value came from; secrets are hidden."""
    rows = Source(settings, store).load().rows()
    if as_json:
        named = {name: {"value": value, "origin": origin} for name, value, origin in rows}
        console.print_json(named)
        return
    shown = [(name, _as_text(value), origin) for name, value, origin in rows]
    width = {column: max(len(row[column]) for row in shown) for column in (0, 1)}
    for name, value, origin in shown:
        console.print(f"{name:{width[0]}}  {value:{width[1]}}  {origin}")


def _as_text(value: Any) -> str:
    """Return the text for the value of a setting."""
    match value:
        case []:
            return "none"
        case list():
            return ", ".join(value)
        case str():
            return value
    return json.dumps(value)


@config_commands.command("check")
def check_config(
    settings: SettingsFile = None,
    store: StoreUrl = None,
    *,
    production: Annotated[
        bool, typer.Option(help="Check as if server.mode were production.")
    ] = False,
) -> None:
    """Check the settings and list every problem; exit code 2 if there is one."""
    from hello_tornado.config.production import collected, dangers, open_to_strangers
    from hello_tornado.config.secret import is_production

    loaded = Source(settings, store).load(
        **({"server": {"mode": "production"}} if production else {})
    )
    given = loaded.settings
    problems = collected(
        [lambda: _check_secret(given), lambda: _check_manager(given), lambda: _check_store(given)]
    )
    problems += dangers(loaded) if is_production(given) else open_to_strangers(loaded)
    if problems:
        raise Problems(problems)
    console.print("the settings are good")


def _check_secret(given: "Settings") -> None:
    from hello_tornado.config.secret import cookie_secret, is_production

    if given.cookie_secret is not None or given.cookie_secret_file.exists() or is_production(given):
        cookie_secret(given)


def _check_manager(given: "Settings") -> None:
    """Check the settings of the session manager: cookie, lifetimes and options."""
    from hello_tornado.managers import make_manager
    from hello_tornado.sessions.stores.memory import MemoryStore

    make_manager(given, MemoryStore())


def _check_store(given: "Settings") -> None:
    from hello_tornado.database import migrate
    from hello_tornado.database.databases import databases, open_sessions, upgrades_itself

    open_sessions(given)
    for url, accounts in databases(given):
        schema = migrate.state(url, accounts=accounts)
        if not (schema.is_known and upgrades_itself(url)):
            schema.check()
