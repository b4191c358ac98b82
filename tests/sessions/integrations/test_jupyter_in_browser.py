"""What people see of `jupyter server` and `voila` with server-side sessions, with Chromium."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import browser_of_a_person
from jupyter_servers import CONFIG, VOILA, home, serving, started
from playwright.sync_api import Browser, Page, expect
from running import SOON, Server, wait_until_it_listens

AXE = Path(__file__).parent.parent.parent.parent / "node_modules/axe-core/axe.min.js"
NOTEBOOK = """{"cells": [{"cell_type": "code", "execution_count": null, "id": "a1", "metadata": {},
"outputs": [], "source": ["print(6 * 7, 'is the answer')"]}], "metadata": {"kernelspec":
{"display_name": "Python 3", "language": "python", "name": "python3"}}, "nbformat": 4,
"nbformat_minor": 5}"""
# Starts a kernel as pages do, and resolves when its socket is open; `ended` tells its end.
OPEN_KERNEL = """async () => {
  const token = document.cookie.match(/_xsrf=([^;]*)/)[1];
  const made = await fetch("/api/kernels", {
    method: "POST", headers: {"X-XSRFToken": token}, body: JSON.stringify({name: "python3"})});
  const {id} = await made.json();
  const socket = new WebSocket(`ws://${location.host}/api/kernels/${id}/channels?session_id=page`);
  await new Promise(resolve => { socket.onopen = resolve; });
  window.ended = new Promise(resolve => {
    socket.onclose = event => resolve([event.code, event.reason]);
  });
}"""
# What a page says that waits for an answer when its socket is closed.
CLOSED = "Canceled future for "


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("jupyter")
    (directory / "notes.txt").write_text("Notes of Ada", encoding="utf-8")
    with serving(directory) as running:
        yield running


def fill_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def test_a_person_logs_in_and_out_in_two_browsers(chromium: Browser, server: Server) -> None:
    with (
        browser_of_a_person(chromium, CLOSED) as first,
        browser_of_a_person(chromium, CLOSED) as second,
    ):
        page, other = first.new_page(), second.new_page()
        for visited in (page, other):
            visited.goto(f"{home(server)}/files/notes.txt")
            expect(visited.get_by_role("heading", name="Log in")).to_be_visible()
            fill_in(visited, "ada", "hopper")
            expect(visited.get_by_role("alert")).to_have_text("Wrong name or password.")
            expect(visited.get_by_label("Name")).to_have_value("ada")
            fill_in(visited, "ada", "lovelace")
            expect(visited.get_by_text("Notes of Ada")).to_be_visible()
        page.goto(f"{home(server)}/")
        page.evaluate(OPEN_KERNEL)
        other.goto(f"{home(server)}/logout")
        expect(other.get_by_text("You are logged in as ada.")).to_be_visible()
        other.get_by_role("button", name="Log out on all devices").click()
        expect(other.get_by_role("heading", name="Log in")).to_be_visible()
        answered = time.monotonic()
        assert page.evaluate("window.ended") == [4401, "revoked"]
        assert time.monotonic() - answered < SOON
        page.goto(f"{home(server)}/files/notes.txt")
        expect(page.get_by_role("alert")).to_have_text("You were signed out. Please log in again.")


@pytest.mark.skipif(not AXE.exists(), reason="npm install --no-save --no-package-lock axe-core@4")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_are_accessible(chromium: Browser, server: Server, scheme: str) -> None:
    with chromium.new_context(color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(f"{home(server)}/login")
        assert complaints(page) == []
        fill_in(page, "ada", "hopper")
        expect(page.get_by_role("alert")).to_be_visible()
        assert complaints(page) == []
        fill_in(page, "ada", "lovelace")
        page.goto(f"{home(server)}/logout")
        expect(page.get_by_role("heading", name="Log out")).to_be_visible()
        assert complaints(page) == []


def complaints(page: Page) -> list[str]:
    page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    return [f"{one['id']}: {one['help']}" for one in found["violations"]]


def test_voila_with_the_same_class(chromium: Browser, tmp_path: Path) -> None:
    pytest.importorskip("voila")
    settings = tmp_path / ".jupyter/voila.py"
    settings.parent.mkdir()
    text = CONFIG.read_text(encoding="utf-8").replace("c.ServerApp", "c.Voila")
    settings.write_text(text, encoding="utf-8")
    (tmp_path / "answer.ipynb").write_text(NOTEBOOK, encoding="utf-8")
    with (
        started(tmp_path, *VOILA, "answer.ipynb") as server,
        browser_of_a_person(chromium, CLOSED) as context,
    ):
        wait_until_it_listens(server.port)
        page, other = context.new_page(), context.new_page()
        page.goto(home(server))
        fill_in(page, "ada", "hopper")
        expect(page.get_by_role("alert")).to_have_text("Wrong name or password.")
        with page.expect_websocket() as opened:
            fill_in(page, "ada", "lovelace")
        expect(page.get_by_text("42 is the answer")).to_be_visible()
        assert not opened.value.is_closed()
        other.goto(f"{home(server)}/logout")
        with opened.value.expect_event("close"):
            other.get_by_role("button", name="Log out", exact=True).click()
            asked = time.monotonic()
        assert time.monotonic() - asked < SOON
        page.goto(home(server))
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
