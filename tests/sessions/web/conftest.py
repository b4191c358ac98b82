"""What tests of handlers share: an application with the routes of their file, and a client."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import SECRET, FakeStore
from opentelemetry.instrumentation.tornado import TornadoInstrumentor
from styles import SHARED, Browser
from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application

from hello_tornado.sessions import SessionManager


@pytest.fixture(params=["plain", "opentelemetry"])
def instrumented(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    if request.param == "plain":
        yield
        return
    instrumentor = TornadoInstrumentor()
    instrumentor.instrument()
    yield
    instrumentor.uninstrument()
    assert "Failed to detach context" not in caplog.text


@pytest.fixture
def store() -> FakeStore:
    """A store that lets others run during each save and each end."""
    return FakeStore(turns={"save": 10, "delete": 10})


@pytest.fixture
def app(store: FakeStore, request: pytest.FixtureRequest, tmp_path: Path) -> Application:
    (tmp_path / "page.html").write_text("n={{ n }} user={{ current_user }}")
    return Application(
        list((SHARED | request.module.ROUTES).items()),
        cookie_secret=SECRET,
        session_manager=SessionManager(store),
        store=store,
        template_path=str(tmp_path),
        login_url="/login",
        after_finish=[],
        errors=[],
        is_waiting=asyncio.Event(),
        may_go_on=asyncio.Event(),
    )


@pytest.fixture
def browser(http_client: AsyncHTTPClient, base_url: str) -> Browser:
    return Browser(http_client, base_url)
