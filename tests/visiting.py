"""The application in the test's own process: a store that counts and fails, and a cookie jar."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fakes import SECRET, FakeStore
from tornado.httpclient import HTTPResponse
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application

from hello_tornado.accounts.accounts import Accounts
from hello_tornado.app import make_app
from hello_tornado.config.settings import Settings
from hello_tornado.managers import make_manager
from hello_tornado.sessions import Store, open_store
from hello_tornado.sessions.records.ids import SessionKey
from hello_tornado.sessions.testing import NOW


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
        self.store = FakeStore(self.make_store())
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
