"""The application in the test's own process: a store that counts and fails, and a cookie jar."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import HTTPResponse
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application

from hello_tornado.accounts.accounts import Accounts
from hello_tornado.app import make_app
from hello_tornado.config.settings import Settings
from hello_tornado.managers import make_manager
from hello_tornado.sessions import Store, open_store
from hello_tornado.sessions.errors import StoreUnavailable
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.records.record import Listed, Outcome, SessionRecord, Swap
from hello_tornado.sessions.testing import NOW

SECRET = "a secret of the tests, long enough for anyone"


class WatchedStore:
    """Passes everything on to a real store; knows what was asked, and may be down."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: list[str] = []
        self.is_down = False

    def _asked(self, verb: str) -> None:
        self.calls.append(verb)
        if self.is_down:
            raise StoreUnavailable("the store is down")

    async def load(self, keys: Collection[SessionKey], /) -> Mapping[SessionKey, SessionRecord]:
        self._asked("load")
        return await self._store.load(keys)

    async def save(self, swaps: Sequence[Swap], /) -> Sequence[Outcome]:
        self._asked("save")
        return await self._store.save(swaps)

    async def touch(self, records: Collection[SessionRecord], /) -> None:
        self._asked("touch")
        await self._store.touch(records)

    async def delete(self, keys: Collection[SessionKey], /) -> Collection[SessionKey]:
        self._asked("delete")
        return await self._store.delete(keys)

    async def find_by_user(self, user_id: str, /) -> Sequence[Listed]:
        self._asked("find_by_user")
        return await self._store.find_by_user(user_id)

    async def find_by_handle(self, handles: Collection[str], /) -> Sequence[SessionRecord]:
        self._asked("find_by_handle")
        return await self._store.find_by_handle(handles)

    async def page(self, after: Listed | None, limit: int, /) -> Sequence[Listed]:
        self._asked("page")
        return await self._store.page(after, limit)

    async def count(self, after: int = 0, /) -> int:
        self._asked("count")
        return await self._store.count(after)

    async def purge(self, now: int, limit: int, /) -> int:
        self._asked("purge")
        return await self._store.purge(now, limit)

    async def aclose(self) -> None:
        await self._store.aclose()


class Visits(AsyncHTTPTestCase):
    """Requests to the application over a store in memory; `Clock` time, one cookie."""

    settings = Settings()

    @pytest.fixture(autouse=True)
    def surroundings(self, clock: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.clock, self.directory, self.caplog = clock, tmp_path, caplog
        clock.now = NOW

    def make_store(self) -> Store:
        return open_store("memory://")

    def get_app(self) -> Application:
        self.store = WatchedStore(self.make_store())
        self.manager = make_manager(self.settings, self.store, clock=self.clock)
        self.cookie: str | None = None
        self.device: str | None = None  # a second cookie, which only logins with a password set

        async def check() -> None:
            await self.store.load([SessionKey(bytes(32))])

        self.accounts = self.make_accounts()
        return make_app(
            self.settings,
            self.manager,
            cookie_secret=SECRET,
            check=check,
            accounts=self.accounts,
        )

    def make_accounts(self) -> Accounts | None:
        """None: the login is open."""
        return None

    def tearDown(self) -> None:
        self.io_loop.run_sync(self.manager.aclose)
        if self.accounts is not None:
            self.io_loop.run_sync(self.accounts.aclose)
        super().tearDown()

    def visit(
        self,
        path: str,
        method: str = "GET",
        form: Mapping[str, Any] | None = None,
        body: str | bytes | None = None,
        **headers: str,
    ) -> HTTPResponse:
        """One request with the cookie, which is kept as a browser would keep it."""
        if self.cookie is not None and "Cookie" not in headers:
            headers["Cookie"] = self.cookie
        if form is not None:
            body = urlencode(form)
        if body is None and method in {"POST", "PUT"}:
            body = b""
        response = self.fetch(
            path, method=method, body=body, headers=headers, follow_redirects=False
        )
        for cookie in response.headers.get_list("Set-Cookie"):
            if cookie.startswith("known-device="):
                self.device = cookie.partition(";")[0]
            else:
                self.cookie = None if "Max-Age=0" in cookie else cookie.partition(";")[0]
        return response

    def page(self, path: str = "/") -> str:
        response = self.visit(path)
        assert response.code == 200, response
        return response.body.decode()

    def log_in(self, name: str = "Ada", **form: str) -> HTTPResponse:
        return self.visit("/user/login", "POST", {"username": name, **form})

    def data(self) -> Any:
        return json.loads(self.visit("/api/session").body)["data"]

    def rows(self, user_id: str) -> int:
        """How many sessions the store holds of a user, living or not."""
        return len(self.io_loop.run_sync(lambda: self.store._store.find_by_user(user_id)))
