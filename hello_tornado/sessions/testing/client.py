"""Tornado's test case with a visitor who has a session."""

from typing import Any

from tornado.httpclient import HTTPResponse
from tornado.testing import AsyncHTTPTestCase, get_async_test_timeout

from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.testing.clock import Clock
from hello_tornado.sessions.testing.visitor import Visitor, manager_of


class SessionTestCase(AsyncHTTPTestCase):
    """Tornado's `AsyncHTTPTestCase` with one visitor, who keeps cookies as a browser does.

    `login()` begins their session without any page; `fetch()` sends their cookies, keeps those that
    come back, also with redirects, and forgets those that are cleared. `cookies` has them by name.
    `clock` is there before `get_app()` is called: give it to the manager, `clock=self.clock`, and
    move it. For https, derive from Tornado's `AsyncHTTPSTestCase`, too.
    """

    def setUp(self) -> None:
        """Tornado's, for a visitor without cookies."""
        self.clock = Clock()
        super().setUp()
        self._visitor = Visitor(self._app, self.get_url("/"), self.http_client)

    def tearDown(self) -> None:
        """Tornado's; closes the sessions' manager before."""
        self.io_loop.run_sync(manager_of(self._app).aclose)
        super().tearDown()

    @property
    def cookies(self) -> dict[str, str]:
        """The visitor's cookies by name; may be changed."""
        return self._visitor.cookies

    def login(self, user_id: str | None = None, /, **data: Any) -> None:
        """From now on the visitor has a session of *user_id* (None: nobody's) that holds *data*.

        `ValueError` for a session that is nobody's and holds nothing.
        """
        self.io_loop.run_sync(lambda: self._visitor.login(user_id, **data))

    def fetch(self, path: str, raise_error: bool = False, **kwargs: Any) -> HTTPResponse:
        """Tornado's `fetch()`, with the visitor's cookies."""
        response: HTTPResponse = self.io_loop.run_sync(
            lambda: self._visitor.fetch(path, raise_error=raise_error, **kwargs),
            timeout=get_async_test_timeout(),
        )
        return response

    def session(self) -> Session | None:
        """The visitor's session as it is stored now, to look at; None without a living one."""
        session: Session | None = self.io_loop.run_sync(self._visitor.session)
        return session
