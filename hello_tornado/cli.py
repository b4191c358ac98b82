"""The command line. Without a command it serves."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hello_tornado import event_loop, migrate
from hello_tornado.app import cookie_policy, database_urls, make_manager
from hello_tornado.cures import cure_of
from hello_tornado.logs import set_up_logs
from hello_tornado.problem import Problem, Problems
from hello_tornado.production import (
    collected,
    dangers,
    open_to_strangers,
    refuse_what_is_dangerous,
)
from hello_tornado.secret import cookie_secret, is_production, new_secret, write_secret
from hello_tornado.server import serve as serve_until_stopped
from hello_tornado.service import upgrades_itself
from hello_tornado.session_commands import session_commands
from hello_tornado.sessions import SessionManager, open_store
from hello_tornado.sessions.errors import ConfigurationError, SessionError, StoreError
from hello_tornado.settings import Loaded, Settings, SettingsError, load_settings
from hello_tornado.supervisor import supervise
from hello_tornado.terminal import (
    SettingsFile,
    console,
    counted,
    errors,
    progress_bar,
    with_manager,
)
from hello_tornado.user_commands import user_commands

cli = typer.Typer(
    help="Server-side sessions for Tornado: a server made with them. Without a command: serve.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)
schema_commands = typer.Typer(help="The schema of the session database.", no_args_is_help=True)
config = typer.Typer(help="The settings in force.", no_args_is_help=True)
cli.add_typer(schema_commands, name="db")
cli.add_typer(config, name="config")
cli.add_typer(session_commands, name="sessions")
cli.add_typer(user_commands, name="user")

Revision = Annotated[str, typer.Argument(help="A revision of the schema.")]


@cli.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Tracebacks and debug logs.")] = False,
) -> None:
    """Serve, unless a command is given."""
    set_up_logs("text", logging.DEBUG if debug else logging.INFO)
    if not debug:
        logging.getLogger("alembic").setLevel(logging.WARNING)
    if context.invoked_subcommand is None:
        serve()


@cli.command()
def serve(
    port: Annotated[int | None, typer.Option(help="0 takes any free port.")] = None,
    processes: Annotated[int | None, typer.Option(help="So many share the port.")] = None,
    settings: SettingsFile = None,
    lifeline: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve until Ctrl+C or SIGTERM."""
    given = {"port": port, "processes": processes}
    named = {name: value for name, value in given.items() if value is not None}
    loaded = _load(settings, server=named) if named else _load(settings)
    level = logging.getLogger().level
    set_up_logs(loaded.settings.server.log_format, level)
    refuse_what_is_dangerous(loaded, is_debugging=level == logging.DEBUG)
    if lifeline is None and loaded.settings.server.processes > 1:
        sys.exit(asyncio.run(supervise(loaded, settings, console)))
    event_loop.installed().run(serve_until_stopped(loaded, console, lifeline))


@schema_commands.command()
def upgrade(revision: Revision = "head", settings: SettingsFile = None) -> None:
    """Bring the schema up to date; SQLite is backed up first when it holds sessions."""
    for url in _databases(settings):
        _tell_backup(migrate.upgrade(url, revision))
        console.print(f"the schema is {migrate.state(url).current}")


@schema_commands.command()
def downgrade(revision: Revision, settings: SettingsFile = None) -> None:
    """Take the schema back to a revision; "base" removes it, and all sessions."""
    for url in _databases(settings):
        _tell_backup(migrate.downgrade(url, revision))
        console.print(f"the schema is {migrate.state(url).current or 'gone'}")


@schema_commands.command()
def current(settings: SettingsFile = None) -> None:
    """Show the schema that the database has, and the one that this program needs."""
    for url in _databases(settings):
        schema = migrate.state(url)
        console.print(f"{schema.current or 'none'} (this program needs {schema.head})")


@schema_commands.command()
def check(settings: SettingsFile = None) -> None:
    """Fail unless the schema is current and the tables are as the code describes them."""
    for url in _databases(settings):
        migrate.state(url).check()
        if differences := migrate.differences(url):
            raise Problem(f"the tables differ from the code: {differences}", "restore a backup")
        console.print("the schema is current")


@cli.command()
def purge(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
    settings: SettingsFile = None,
) -> None:
    """Delete expired sessions now."""

    async def run(manager: SessionManager, given: Settings) -> int:
        expired = await manager.store.count() - await manager.store.count(manager.now())
        if dry_run:
            return expired
        with progress_bar() as bar:
            task = bar.add_task("purging", total=expired)
            return await manager.purge(
                batch=given.purge.batch, progress=lambda count: bar.advance(task, count)
            )

    count = with_manager(settings, run)
    would_be = "would be " if dry_run else ""
    console.print(f"{counted(count, 'expired session')} {would_be}deleted")


@cli.command()
def secret(
    write: Annotated[Path | None, typer.Option(help="Put it in this new file, mode 0600.")] = None,
) -> None:
    """Make a fresh cookie secret."""
    if write is None:
        console.print(new_secret())
    else:
        write_secret(write)
        console.print(f"{write} holds a fresh secret")


@config.command("show")
def show_config(settings: SettingsFile = None) -> None:
    """Every setting, its value, and where that came from; secrets stay hidden."""
    rows = _load(settings).rows()
    width = {column: max(len(row[column]) for row in rows) for column in (0, 1)}
    for name, value, origin in rows:
        console.print(f"{name:{width[0]}}  {value:{width[1]}}  {origin}", markup=False)


@config.command("check")
def check_config(
    settings: SettingsFile = None,
    *,
    production: Annotated[bool, typer.Option(help="As if server.mode were production.")] = False,
) -> None:
    """Fail unless a server could start with these settings; tells all that is wrong at once."""
    loaded = _load(settings, server={"mode": "production"}) if production else _load(settings)
    given = loaded.settings
    problems = collected(
        [lambda: _check_secret(given), lambda: cookie_policy(given), lambda: _check_store(given)]
    )
    problems += dangers(loaded) if is_production(given) else open_to_strangers(loaded)
    if problems:
        raise Problems(problems)
    console.print("the settings are good")


def _check_secret(given: Settings) -> None:
    if given.cookie_secret is not None or given.cookie_secret_file.exists() or is_production(given):
        cookie_secret(given)


def _check_store(given: Settings) -> None:
    make_manager(given, open_store(given.store.url))
    for url in database_urls(given):
        schema = migrate.state(url)
        if not (schema.is_known and upgrades_itself(url)):
            schema.check()


def _databases(path: Path | None) -> list[str]:
    """Those of the sessions and of the accounts; a store without a schema will say so itself."""
    settings = _load(path).settings
    return database_urls(settings) or [settings.store.url]


def _load(path: Path | None, **overrides: Any) -> Loaded:
    return load_settings(path, **overrides)


def _tell_backup(backup: Path | None) -> None:
    if backup is not None:
        console.print(f"the database as it was is kept in {backup}")


def main() -> None:
    """Run a command; a problem is told in two lines, and the exit code is 2."""
    try:
        cli()
    except (Problem, Problems, SettingsError, SessionError, OSError) as problem:
        if "--debug" in sys.argv:
            raise
        for one in problem.problems if isinstance(problem, Problems) else [problem]:
            errors.print(f"error: {one}", markup=False)
            errors.print(f"cure:  {_cure(one)}", markup=False)
        sys.exit(2)


def _cure(problem: Exception) -> str:
    match problem:
        case Problem():
            return problem.cure
        case SettingsError() | ConfigurationError():
            return "settings.yaml of the project documents every setting"
        case StoreError():
            return cure_of(problem)
        case OSError():
            return "check that the path is there, and that you may read and write it"
        case _:
            return "run it again with --debug (before the command) for the whole story"
