"""Opens and closes the session manager, the accounts and their databases together."""

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
    """The session manager, the accounts and the metrics that *settings* describe."""

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
        # Commands run in another process and cannot reach sessions in this one's memory.
        is_out_of_reach = settings.store.url.startswith("memory:")
        self._signed_out = (
            SignedOut(self.accounts, self.manager) if self.accounts and is_out_of_reach else None
        )

    def application(self) -> Application:
        """Build the application that serves them."""
        return make_app(
            self._settings,
            self.manager,
            cookie_secret=cookie_secret(self._settings),
            check=Remembered(self.check),
            accounts=self.accounts,
            metrics=self.metrics,
        )

    async def check(self) -> None:
        """Raise unless the store answers within its time limit and the schema is up to date."""
        for url, database in self._databases.items():
            has_accounts = url == self._accounts_url
            schema = await database.read(migrate.schema_of, table_of(url), accounts=has_accounts)
            schema.check()
        await self.manager.store.load([NO_SESSION])

    async def start(self) -> None:
        """Check that requests can be served, then start to purge expired sessions."""
        await self.check()
        await self.manager.open(None)  # the manager begins to purge when it is first used
        if self._signed_out is not None:
            self._signed_out.start()

    async def aclose(self) -> None:
        """Close the manager, its store and the accounts."""
        if self._signed_out is not None:
            self._signed_out.stop()
        await self.manager.aclose()
        if self.accounts is not None:
            await self.accounts.aclose()


def prepare_schema(settings: Settings) -> Path | None:
    """Upgrade the schema of SQLite files; a database server is upgraded with `db upgrade`.

    Returns the path of the first backup that was made; None if there was nothing to back up.
    """
    backups = [
        migrate.upgrade(one.url, accounts=one.accounts)
        for one in databases(settings)
        if upgrades_itself(one.url)
    ]
    return next((backup for backup in backups if backup is not None), None)
