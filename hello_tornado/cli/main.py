"""The command line. Without a command it serves.

Each command imports its modules when it runs, so that no command waits for imports of others.
"""

import asyncio
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hello_tornado import __version__
from hello_tornado.cli.config import config_commands
from hello_tornado.cli.moves import move_commands
from hello_tornado.cli.sessions import session_commands
from hello_tornado.cli.terminal import (
    AsJson,
    SettingsFile,
    Source,
    StoreUrl,
    console,
    counted,
    errors,
    notes,
    progress,
    with_manager,
)
from hello_tornado.cli.users import user_commands
from hello_tornado.logs import set_up_logs
from hello_tornado.problem import MISTAKEN, UNREACHABLE, Problem, Problems

if TYPE_CHECKING:
    from hello_tornado.config.settings import Settings
    from hello_tornado.database.databases import Database
    from hello_tornado.sessions import SessionManager

cli = typer.Typer(
    help="A server with server-side sessions for Tornado. Without a command it serves.",
    epilog="Exit codes: 0 done, 1 an error in this program, 2 wrong command or settings, 3 the "
    "store does not answer, 4 no such user, session or database, 130 interrupted (Ctrl+C).",
    no_args_is_help=False,
    # Completion for `python -m hello_tornado` would apply to every other `python`, too.
    add_completion=Path(sys.argv[0]).name != "__main__.py",
    pretty_exceptions_enable=False,
)
schema_commands = typer.Typer(help="Upgrade, downgrade or check the schema.", no_args_is_help=True)
cli.add_typer(schema_commands, name="db")
cli.add_typer(config_commands, name="config")
cli.add_typer(session_commands, name="sessions")
session_commands.add_typer(move_commands)
cli.add_typer(user_commands, name="users")

Revision = Annotated[str, typer.Argument(help="A revision of the schema.")]


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        console.print(f"hello_tornado {__version__}")
        raise typer.Exit


@cli.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    *,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and log at the level DEBUG.")
    ] = False,
    version: Annotated[  # noqa: ARG001 - the callback prints it
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Serve, unless a command is given."""
    set_up_logs("text", logging.DEBUG if debug else logging.INFO)
    if not debug:
        logging.getLogger("alembic").setLevel(logging.WARNING)
    if context.invoked_subcommand is None:
        serve()


@cli.command()
def serve(
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one.")] = None,
    processes: Annotated[
        int | None, typer.Option(help="Number of server processes on this port.")
    ] = None,
    settings: SettingsFile = None,
    store: StoreUrl = None,
    lifeline: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve until Ctrl+C or SIGTERM."""
    from hello_tornado import runtime
    from hello_tornado.config.production import refuse_what_is_dangerous
    from hello_tornado.server import serve as serve_until_stopped

    given = {"port": port, "processes": processes}
    named = {name: value for name, value in given.items() if value is not None}
    source = Source(settings, store)
    loaded = source.load(server=named) if named else source.load()
    level = logging.getLogger().level
    set_up_logs(loaded.settings.server.log_format, level)
    refuse_what_is_dangerous(loaded, is_debugging=level == logging.DEBUG)
    if lifeline is None and loaded.settings.server.processes > 1:
        from hello_tornado.supervisor import supervise

        sys.exit(asyncio.run(supervise(loaded, source.arguments(), notes.print)))
    runtime.fastest_loop().run(serve_until_stopped(loaded, notes.print, lifeline))


@schema_commands.command()
def upgrade(
    revision: Revision = "head", settings: SettingsFile = None, store: StoreUrl = None
) -> None:
    """Upgrade the schema; a SQLite file with sessions is backed up first."""
    from hello_tornado.database import migrate

    for url, accounts in _databases(Source(settings, store)):
        with progress("upgrading"):
            backup = migrate.upgrade(url, revision, accounts=accounts)
        _tell_backup(backup)
        console.print(f"the schema is {migrate.state(url).current}")


@schema_commands.command()
def downgrade(revision: Revision, settings: SettingsFile = None, store: StoreUrl = None) -> None:
    """Downgrade the schema to a revision; "base" drops the tables with all sessions."""
    from hello_tornado.database import migrate

    for url, _ in _databases(Source(settings, store)):
        with progress("downgrading"):
            backup = migrate.downgrade(url, revision)
        _tell_backup(backup)
        console.print(f"the schema is {migrate.state(url).current or 'gone'}")


@schema_commands.command()
def current(
    settings: SettingsFile = None, store: StoreUrl = None, *, as_json: AsJson = False
) -> None:
    """Show the schema that the database has, and the one that this program needs."""
    from hello_tornado.database import migrate

    schemas = [
        migrate.state(url, accounts=accounts)
        for url, accounts in _databases(Source(settings, store))
    ]
    if as_json:
        rows = [
            {"current": one.current, "needed": one.head, "is_current": one.is_current}
            for one in schemas
        ]
        console.print_json({"schemas": rows})
        return
    for schema in schemas:
        lacks = " without accounts" if schema.lacks_accounts else ""
        console.print(f"{schema.current or 'none'}{lacks} (this program needs {schema.head})")


@schema_commands.command()
def check(settings: SettingsFile = None, store: StoreUrl = None) -> None:
    """Fail unless the schema is current and the tables match the code."""
    from hello_tornado.database import migrate

    for url, accounts in _databases(Source(settings, store)):
        with progress("checking"):
            migrate.state(url, accounts=accounts).check()
            differences = migrate.differences(url, accounts=accounts)
        if differences:
            raise Problem(
                f"the tables differ from the code: {differences}",
                "restore a backup, or name another database in store.url",
            )
        console.print("the schema is current")


@cli.command()
def purge(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
    settings: SettingsFile = None,
    store: StoreUrl = None,
) -> None:
    """Delete expired sessions now."""

    async def run(manager: "SessionManager", given: "Settings") -> int:
        from hello_tornado.cli.session_filter import count_expired

        expired = await count_expired(manager.store, manager.now())
        if dry_run:
            return expired
        with progress("purging", expired) as advance:
            deleted = await manager.purge(batch=given.purge.batch, progress=advance)
        return min(expired, deleted)  # the others are tombstones, which are not counted

    count = with_manager(Source(settings, store), run)
    would_be = "would be " if dry_run else ""
    console.print(f"{counted(count, 'expired session')} {would_be}deleted")


@cli.command()
def secret(
    write: Annotated[
        Path | None, typer.Option(help="Write it to this new file, with mode 0600.")
    ] = None,
) -> None:
    """Make a new cookie secret."""
    from hello_tornado.config.secret import new_secret, write_secret

    if write is None:
        console.print(new_secret())
    else:
        write_secret(write)
        console.print(f"{write} has a new secret")


def _databases(source: Source) -> "list[Database]":
    """Return the databases of the sessions and of the accounts.

    A store without a schema is returned, too: the command then reports that it has none.
    """
    from hello_tornado.database import databases

    settings = source.load().settings
    return databases.databases(settings) or [databases.Database(settings.store.url, False)]


def _tell_backup(backup: Path | None) -> None:
    if backup is not None:
        console.print(f"the backup of the database is {backup}")


def main() -> None:
    """Run a command. A problem is reported in two lines; `problem` lists the exit codes."""
    try:
        sys.exit(cli(standalone_mode=False))
    except typer.Abort:  # the input ended at a prompt
        errors.print("aborted")
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv or not _is_expected(error):
            raise
        for one in error.problems if isinstance(error, Problems) else [error]:
            if cause := _cause(one):  # empty if no command was given: the help is printed already
                errors.print(f"error: {cause}")
                errors.print(f"cure:  {_cure(one)}")
        sys.exit(_exit_code(error))


def _cause(error: Exception) -> str:
    return error.format_message() if isinstance(error, typer.TyperException) else str(error)


def _is_expected(error: Exception) -> bool:
    """Whether the cause is outside of this program, so that a user can remove it."""
    if isinstance(error, Problem | Problems | OSError | typer.TyperException):
        return True
    from hello_tornado.config.settings import SettingsError
    from hello_tornado.sessions.errors import SessionError

    return isinstance(error, SettingsError | SessionError)


def _exit_code(error: Exception) -> int:
    from hello_tornado.sessions.errors import StoreError

    if isinstance(error, StoreError) or _is_of_database(error.__cause__):
        return UNREACHABLE
    return error.exit_code if isinstance(error, Problem | Problems) else MISTAKEN


def _is_of_database(cause: BaseException | None) -> bool:
    """Whether *cause* is an error of a driver; without SQLAlchemy imported it cannot be."""
    sqlalchemy = sys.modules.get("sqlalchemy.exc")
    return sqlalchemy is not None and isinstance(cause, sqlalchemy.DBAPIError)


def _cure(error: Exception) -> str:
    from hello_tornado.config.settings import SettingsError
    from hello_tornado.remedies import cure_of
    from hello_tornado.sessions.errors import ConfigurationError, StoreError

    match error:
        case Problem():
            return error.cure
        case typer.TyperException():
            context = getattr(error, "ctx", None)
            return f"see: {context.command_path if context else 'python -m hello_tornado'} --help"
        case SettingsError() | ConfigurationError():
            return "for a file with every setting, run: python -m hello_tornado config init FILE"
        case StoreError():
            return cure_of(error)
        case OSError():
            return "check that the path exists, and that you may read and write it"
        case _:
            return "run it again with --debug (before the command) to see the traceback"
