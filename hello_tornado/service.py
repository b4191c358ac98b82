"""What the server serves with: sessions, accounts and their schema, opened and closed together."""

from pathlib import Path

from tornado.web import Application

from hello_tornado.accounts.accounts import Accounts
from hello_tornado.app import make_app
from hello_tornado.config.secret import cookie_secret
from hello_tornado.config.settings import Settings
from hello_tornado.database import migrate
from hello_tornado.database.databases import (
    accounts_url,
    as_it_is,
    databases,
    open_sessions,
    upgrades_itself,
)
from hello_tornado.handlers.health import Remembered
from hello_tornado.managers import make_manager
from hello_tornado.remote_sign_out import SignedOut
from hello_tornado.sessions.metrics import SessionMetrics
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.stores.moving import MovingStore
from hello_tornado.sessions.stores.sql.database import SqlDatabase
from hello_tornado.sessions.stores.sql.store import SqlStore
from hello_tornado.sessions.stores.sql.url import table_of

NO_SESSION = SessionKey(bytes(32))


class Service:
    """The sessions and accounts that the settings describe, and their numbers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.metrics = SessionMetrics()
        store = open_sessions(settings)
        self.manager = make_manager(settings, store, metrics=self.metrics)
        self._accounts_url = url = accounts_url(settings)
        self.accounts = None if url is None else Accounts.from_url(as_it_is(url))
        self._databases: dict[str, SqlDatabase] = {}
        if url is not None and self.accounts is not None:
            self._databases[url] = self.accounts.database
        named = (settings.store.url, settings.store.moving_from)
        parts = store.parts if isinstance(store, MovingStore) else (store,)
        for name, part in zip(named, parts, strict=False):
            if name is not None and isinstance(part, SqlStore):
                self._databases[name] = part.database
        # No command can reach sessions in our own memory.
        is_out_of_reach = settings.store.url.startswith("memory:")
        self._signed_out = (
            SignedOut(self.accounts, self.manager) if self.accounts and is_out_of_reach else None
        )

    def application(self) -> Application:
        """Its pages."""
        return make_app(
            self._settings,
            self.manager,
            cookie_secret=cookie_secret(self._settings),
            check=Remembered(self.check),
            accounts=self.accounts,
            metrics=self.metrics,
        )

    async def check(self) -> None:
        """Raise unless the store answers, within its limit, and the schema is ours."""
        for url, database in self._databases.items():
            has_accounts = url == self._accounts_url
            schema = await database.read(migrate.schema_of, table_of(url), accounts=has_accounts)
            schema.check()
        await self.manager.store.load([NO_SESSION])

    async def start(self) -> None:
        """Make sure that it can serve; from now on purge what has ended."""
        await self.check()
        await self.manager.open(None)  # its first use: from now on it purges
        if self._signed_out is not None:
            self._signed_out.start()

    async def aclose(self) -> None:
        """Let go of everything."""
        if self._signed_out is not None:
            self._signed_out.stop()
        await self.manager.aclose()
        if self.accounts is not None:
            await self.accounts.aclose()


def prepare_schema(settings: Settings) -> Path | None:
    """Upgrade SQLite's files; who has a database server decides when to upgrade it."""
    backups = [
        migrate.upgrade(one.url, accounts=one.accounts)
        for one in databases(settings)
        if upgrades_itself(one.url)
    ]
    return next((backup for backup in backups if backup is not None), None)
