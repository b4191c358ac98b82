"""Debian's Chromium, driven by Playwright, for what a person sees and does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Response,
    sync_playwright,
)
from running import Server, running_server
from services import missing

CHROMIUM = Path("/usr/bin/chromium")
ARTIFACTS = Path(__file__).parent.parent / "artifacts"
AXE = Path(__file__).parent.parent / "node_modules/axe-core/axe.min.js"
LINE = ("/ws", "/static/live.js")  # what says that a server is away
OPTIONS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.exists():
        missing("axe-core is missing: npm install --no-save --no-package-lock axe-core@4")
    return AXE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        missing(f"{CHROMIUM} is missing: install Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path) as started:
        yield started


@contextmanager
def browser_of_a_person(chromium: Browser, *may_be_said: str) -> Iterator[BrowserContext]:
    """A browser whose pages may not fail, but for errors that begin with *may_be_said*."""
    with chromium.new_context() as context:
        wrong: list[str] = []

        def note(answer: Response) -> None:
            if answer.status >= 500:
                wrong.append(f"{answer.status}: {answer.url}")

        context.on("response", note)
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        yield context
    assert [one for one in wrong if not one.startswith(may_be_said)] == []


@contextmanager
def visiting(chromium: Browser, *refused: str, **options: Any) -> Iterator[Page]:
    """A page in a browser of its own; what goes wrong in it fails the test.

    The paths *refused* are meant to answer with an error.
    """
    with chromium.new_context(**options) as context:
        page = context.new_page()
        wrong: list[str] = []

        def note(what: str, url: str) -> None:
            if urlsplit(url).path not in refused:
                wrong.append(f"{what}: {url}")

        def hear(message: ConsoleMessage) -> None:
            if message.type != "info":  # Chromium says there what Clear-Site-Data cleared
                note(message.text, message.location["url"])

        def fail(why: str, url: str) -> None:
            if why != "net::ERR_ABORTED":  # the page was left before its icon had arrived
                note(why, url)

        page.on("console", hear)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: fail(str(request.failure), request.url))
        page.on("response", lambda it: note(str(it.status), it.url) if it.status >= 400 else None)
        yield page
    assert wrong == []


def log_in(page: Page, server: Server, name: str) -> None:
    page.goto(f"{server.url}/user/login")
    page.get_by_label("Your name").fill(name)
    page.keyboard.press("Enter")


def cookie_of(context: BrowserContext) -> Any:
    (cookie,) = context.cookies()
    return cookie


def greeting(page: Page) -> Any:
    return page.get_by_role("heading", level=1)
