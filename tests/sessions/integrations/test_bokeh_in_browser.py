"""What people see in `bokeh serve` and `panel serve`, with Debian's Chromium."""

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import pytest
from bokeh.util.token import get_token_payload
from bokeh_servers import (
    EXAMPLE,
    Visitor,
    home,
    serving,
    sockets_in_both_processes,
    until_closed,
)
from browsing import browser_of_a_person
from playwright.sync_api import Browser, Page, expect
from running import SOON, Server

T = TypeVar("T")

CALLBACKS = """
import asyncio, threading
from bokeh.io import curdoc
from bokeh.layouts import column
from bokeh.models import Button, Div
from hello_tornado.sessions.integrations.bokeh import (
    session_of, session_transaction, update_session
)

document, text = curdoc(), Div(text="ready")

def show(words):
    document.add_next_tick_callback(lambda: text.update(text=words))

def from_a_callback():
    update_session(document, lambda session: session.append("seen", "callback"))
    show("started")

async def in_a_transaction():
    async with session_transaction(document) as session:
        session.append("seen", "transaction")
    text.text = str(session["seen"])

def in_a_thread():
    def run():
        stored = update_session(document, lambda session: session.append("seen", "thread")).result()
        show(str(stored["seen"]))
    threading.Thread(target=run).start()

def read_only():
    try:
        session_of(document)["seen"] = []
    except Exception as error:
        show(type(error).__name__)

def fail():
    def failing(session):
        raise ZeroDivisionError("on purpose")
    update_session(document, failing)

async def log_out():
    async with session_transaction(document) as session:
        session.logout()

def button(label, function):
    made = Button(label=label)
    if asyncio.iscoroutinefunction(function):
        made.on_click(lambda: document.add_next_tick_callback(function))
    else:
        made.on_click(function)
    return made

def look():
    show(str(session_of(document).get("seen", [])))

names = {"callback": from_a_callback, "transaction": in_a_transaction, "thread": in_a_thread,
         "read": read_only, "fail": fail, "end": log_out, "look": look}
document.add_root(column(text, *[button(name, function) for name, function in names.items()]))
"""


@contextmanager
def background() -> Iterator[Callable[[Coroutine[Any, Any, T]], "Future[T]"]]:
    """Runs coroutines while the browser has the main thread."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield lambda step: asyncio.run_coroutine_threadsafe(step, loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def log_in(page: Page, server: Server, path: str = "/app", name: str = "ada") -> None:
    page.goto(home(server) + path)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill({"ada": "lovelace", "grace": "hopper"}[name])
    page.get_by_role("button", name="Log in").click()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bokeh")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    """Two processes that share a SQLite file, with the example as it is."""
    (directory / "callbacks.py").write_text(CALLBACKS, encoding="utf-8")
    files = (str(EXAMPLE / "app.py"), str(directory / "callbacks.py"))
    with serving(directory, *files, "--num-procs", "2") as started:
        yield started


def test_a_person_logs_in_and_their_session_outlives_the_page(
    server: Server, chromium: Browser
) -> None:
    with browser_of_a_person(chromium) as browser:
        page = browser.new_page()
        page.goto(f"{home(server)}/app?shown=1")
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("Wrong name or password.")
        assert "session" not in {cookie["name"] for cookie in browser.cookies()}
        page.get_by_label("Password").fill("lovelace")
        page.get_by_role("button", name="Log in").click()
        expect(page).to_have_url(f"{home(server)}/app?shown=1")
        expect(page.get_by_text("ada has clicked 0 times")).to_be_visible()
        page.get_by_role("button", name="Count").click()
        expect(page.get_by_text("ada has clicked 1 times")).to_be_visible()
        page.reload()
        expect(page.get_by_text("ada has clicked 1 times")).to_be_visible()
        page.goto(f"{home(server)}/login?next=/callbacks")  # who is logged in goes on
        expect(page).to_have_url(f"{home(server)}/callbacks")


def test_a_logout_in_one_tab_closes_the_others_in_both_processes(
    server: Server, chromium: Browser
) -> None:
    """The other tab shows the login, and sockets of the same cookie end within a second."""
    with browser_of_a_person(chromium) as browser, background() as run:
        first, second = browser.new_page(), browser.new_page()
        log_in(first, server)
        second.goto(f"{home(server)}/app")
        for page in (first, second):
            expect(page.get_by_text("ada has clicked")).to_be_visible()
        visitor = Visitor(server)
        visitor.cookies = {one["name"]: one["value"] for one in browser.cookies()}
        opened = run(sockets_in_both_processes(visitor)).result()
        closings = [run(until_closed(one)) for one in opened]
        first.get_by_role("link", name="Log out").click()
        expect(first.get_by_text("You are logged in as ada.")).to_be_visible()
        began = time.monotonic()
        first.get_by_role("button", name="Log out", exact=True).click()
        expect(first).to_have_url(f"{home(server)}/login")
        expect(second).to_have_url(re.compile("/login"))
        expect(second.get_by_label("Password")).to_be_visible()
        for moment, code in [closing.result(10) for closing in closings]:
            assert code == 4401
            assert moment - began < SOON
        second.get_by_label("Name").fill("ada")  # and they come back to where they were
        second.get_by_label("Password").fill("lovelace")
        second.keyboard.press("Enter")
        expect(second.get_by_text("ada has clicked")).to_be_visible()
        expect(second).to_have_url(f"{home(server)}/app")


def test_logging_in_twice_ends_no_document(server: Server, chromium: Browser) -> None:
    """In two tabs that both show the login: the first one's page goes on under the new id."""
    with browser_of_a_person(chromium) as browser:
        first, second = browser.new_page(), browser.new_page()
        second.goto(f"{home(server)}/app")
        log_in(first, server)
        expect(first.get_by_text("ada has clicked")).to_be_visible()
        second.get_by_label("Name").fill("ada")
        second.get_by_label("Password").fill("lovelace")
        with first.expect_console_message(lambda it: "Reconnected websocket" in it.text):
            second.keyboard.press("Enter")
            expect(second.get_by_text("ada has clicked")).to_be_visible()
        before = first.get_by_text("ada has clicked").inner_text()
        first.get_by_role("button", name="Count").click()
        expect(first.get_by_text("ada has clicked")).not_to_have_text(before)


def test_callbacks_read_and_change_the_session(server: Server, chromium: Browser) -> None:
    with browser_of_a_person(chromium) as browser:
        page, other = browser.new_page(), browser.new_page()
        log_in(page, server, "/callbacks", "grace")
        expect(page.get_by_text("ready")).to_be_visible()
        other.goto(f"{home(server)}/callbacks")

        def press(name: str, words: str, on: Page = page) -> None:
            on.get_by_role("button", name=name, exact=True).click()
            expect(on.get_by_text(words, exact=True)).to_be_visible()

        press("callback", "started")
        press("transaction", "['callback', 'transaction']")
        press("thread", "['callback', 'transaction', 'thread']")
        press("read", "ReadOnly")
        page.get_by_role("button", name="fail").click()
        server.wait_for("a document's session could not be changed: on purpose")
        press("look", "['callback', 'transaction', 'thread']")

        def knows() -> bool:
            other.get_by_role("button", name="look").click()
            return other.get_by_text("['callback', 'transaction', 'thread']").is_visible()

        assert any(knows() for _ in range(1000))  # the document that was open before, too
        page.get_by_role("button", name="end").click()
        for one in (page, other):
            expect(one.get_by_label("Password")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible(server: Server, chromium: Browser, scheme: Any, axe: str) -> None:
    def judge(page: Page) -> None:
        page.evaluate(axe)
        found = page.evaluate("axe.run()")["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 320

    window: Any = {"width": 320, "height": 640}
    with chromium.new_context(color_scheme=scheme, viewport=window) as browser:
        page = browser.new_page()
        page.goto(f"{home(server)}/app")
        expect(page.get_by_label("Name")).to_be_focused()
        judge(page)
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.get_by_label("Password")).to_be_focused()
        judge(page)
        page.get_by_label("Password").fill("lovelace")
        page.keyboard.press("Enter")
        expect(page.get_by_text("ada has clicked")).to_be_visible()
        page.goto(f"{home(server)}/logout")
        judge(page)


THREADED = """
import panel as pn
from hello_tornado.sessions.integrations.bokeh import session_of, update_session

document = pn.state.curdoc
button, text = pn.widgets.Button(name="Count"), pn.pane.Str("ready")

def count(event):
    stored = update_session(document, lambda session: session.increment("clicks")).result()
    text.object = f"{stored['clicks']} clicks"

button.on_click(count)
pn.Column(text, button).servable()
"""


def test_panel_serve(tmp_path: Path, chromium: Browser) -> None:
    """The example as it is: a login, an async callback, and a logout that ends another tab."""
    with (
        serving(tmp_path, str(EXAMPLE / "panel_app.py"), program="panel") as server,
        browser_of_a_person(chromium) as browser,
    ):
        page, other = browser.new_page(), browser.new_page()
        log_in(page, server, "/panel_app")
        expect(page.get_by_text("Hello ada")).to_be_visible()
        expect(page).to_have_url(f"{home(server)}/panel_app")
        page.get_by_role("button", name="Count").click()
        expect(page.get_by_text("1 clicks")).to_be_visible()
        other.goto(f"{home(server)}/panel_app")
        expect(other.get_by_text("1 clicks")).to_be_visible()
        (cookie,) = (one for one in browser.cookies() if one["name"] == "session")
        assert cookie["httpOnly"]
        answer = browser.request.get(f"{home(server)}/panel_app").text()
        (token,) = {*re.findall(r'"token":"([^"]+)"', answer)}
        assert cookie["value"] not in answer + str(get_token_payload(token))
        assert browser.request.get(f"{home(server)}/").ok
        page.goto(f"{home(server)}/logout")
        page.get_by_role("button", name="Log out on all devices").click()
        for one in (page, other):
            expect(one.get_by_label("Password")).to_be_visible()
        assert "Traceback" not in server.text


def test_panel_serve_with_threads(tmp_path: Path, chromium: Browser) -> None:
    (tmp_path / "threaded.py").write_text(THREADED, encoding="utf-8")
    with (
        serving(tmp_path, "threaded.py", "--num-threads", "2", program="panel") as server,
        browser_of_a_person(chromium) as browser,
    ):
        page = browser.new_page()
        log_in(page, server, "/threaded")
        expect(page.get_by_text("ready")).to_be_visible()
        page.get_by_role("button", name="Count").click()
        expect(page.get_by_text("1 clicks")).to_be_visible()
