"""Fixtures for pytest: `pytest_plugins = ["hello_tornado.sessions.testing.pytest_plugin"]`.

They need a fixture `app` of yours, which returns the application, as pytest-tornado does. They work
with that plug-in and without, and beside those for asyncio.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from tornado.httpclient import HTTPResponse
from tornado.web import Application

from hello_tornado.sessions.session.session import Session
from hello_tornado.sessions.testing.clock import Clock
from hello_tornado.sessions.testing.faults import FaultyStore
from hello_tornado.sessions.testing.visitor import Visitor, visiting

T = TypeVar("T")


class SyncVisitor:
    """A `Visitor` for tests that are no coroutines: what they await is here a plain call."""

    def __init__(self, runner: asyncio.Runner, visitor: Visitor) -> None:
        self._runner = runner
        self._visitor = visitor

    @property
    def cookies(self) -> dict[str, str]:
        """The visitor's cookies by name; may be changed."""
        return self._visitor.cookies

    def login(self, user_id: str | None = None, /, **data: Any) -> None:
        """As `Visitor.login`."""
        self.run(self._visitor.login(user_id, **data))

    def fetch(self, path: str, **options: Any) -> HTTPResponse:
        """As `Visitor.fetch`."""
        return self.run(self._visitor.fetch(path, **options))

    def session(self) -> Session | None:
        """As `Visitor.session`."""
        return self.run(self._visitor.session())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine, such as `manager.revoke_user("ada")`, beside the server."""
        return self._runner.run(coroutine)


@pytest.fixture
def session_clock() -> Clock:
    """A clock for `SessionManager(…, clock=session_clock)`, which the test moves."""
    return Clock()


@pytest.fixture
def session_store() -> FaultyStore:
    """A store in memory for `SessionManager(session_store)`, which fails when it is told to."""
    return FaultyStore()


@pytest.fixture
def visitor(app: Application) -> Iterator[SyncVisitor]:
    """A visitor of *app*, which listens on a free port during the test."""
    with asyncio.Runner() as runner:
        context = visiting(app)
        yield SyncVisitor(runner, runner.run(context.__aenter__()))
        runner.run(context.__aexit__(None, None, None))
