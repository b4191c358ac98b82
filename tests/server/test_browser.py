"""What a person sees and does, in Debian's Chromium."""

import time
from pathlib import Path
from typing import Any

import pytest
from browsing import ARTIFACTS, LINE, cookie_of, greeting, log_in, visiting
from playwright.sync_api import Browser, expect
from running import Server, running_server

from hello_tornado.handlers.base import ENDINGS


def test_a_person_logs_in_comes_back_after_a_restart_and_logs_out(
    chromium: Browser, tmp_path: Path
) -> None:
    with visiting(chromium, *LINE) as page:
        with running_server(tmp_path) as server:
            port = str(server.port)
            page.goto(server.url)
            expect(greeting(page)).to_have_text("Hello")
            page.get_by_role("main").get_by_role("link", name="Log in").click()
            page.get_by_label("Your name").fill("Ada")
            page.keyboard.press("Enter")
            expect(page).to_have_url(f"{server.url}/")
            expect(greeting(page)).to_have_text("Hello Ada")
            cookie = cookie_of(page.context)
            assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
            assert page.evaluate("document.cookie") == ""

        with running_server(tmp_path, "--port", port):
            page.reload()
            expect(greeting(page)).to_have_text("Hello Ada")
            page.get_by_role("button", name="Log out").click()
            expect(greeting(page)).to_have_text("Hello")
            assert page.context.cookies() == []
            page.context.add_cookies([cookie])
            page.reload()
            expect(greeting(page)).to_have_text("Hello")
            expect(page.get_by_role("navigation").get_by_role("link")).to_have_text("Log in")


@pytest.mark.parametrize("java_script", [True, False], ids=["with scripts", "without scripts"])
def test_the_keyboard_is_enough(chromium: Browser, server: Server, java_script: bool) -> None:
    with visiting(chromium, java_script_enabled=java_script) as page:
        page.goto(server.url)
        navigation = page.get_by_role("navigation")
        for target in (
            page.get_by_role("link", name="Skip to the content"),
            page.get_by_role("link", name="hello_tornado", exact=True),
            navigation.get_by_role("link", name="Log in"),
        ):
            page.keyboard.press("Tab")
            expect(target).to_be_focused()
            expect(target).to_be_in_viewport()
        page.keyboard.press("Enter")
        expect(page.get_by_label("Your name")).to_be_focused()
        page.keyboard.type("Ada")
        page.keyboard.press("Tab")
        expect(page.get_by_label("Keep me logged in on this device")).to_be_focused()
        page.keyboard.press("Space")
        page.keyboard.press("Tab")
        expect(page.get_by_role("main").get_by_role("button", name="Log in")).to_be_focused()
        page.keyboard.press("Enter")
        expect(greeting(page)).to_have_text("Hello Ada")
        month = cookie_of(page.context)["expires"] - time.time()
        assert 30 * 86_400 < month < 31 * 86_400
        for _ in range(4):
            page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Log out")).to_be_focused()
        page.keyboard.press("Enter")
        expect(greeting(page)).to_have_text("Hello")


def test_the_skip_link_skips_the_header(chromium: Browser, server: Server) -> None:
    with visiting(chromium) as page:
        page.goto(server.url)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_role("main").get_by_role("link", name="Log in")).to_be_focused()


def test_a_name_that_will_not_do_is_explained_beside_its_field(
    chromium: Browser, server: Server
) -> None:
    with visiting(chromium, "/user/login") as page:
        log_in(page, server, "\u202eevil")
        expect(page.get_by_role("alert")).to_contain_text("without control or invisible characters")
        expect(page.get_by_label("Your name")).to_have_attribute("aria-invalid", "true")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_every_page_fits_and_is_kept_as_a_picture(
    chromium: Browser, server: Server, scheme: Any, width: int
) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    window: Any = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    with visiting(chromium, "/nowhere", **window) as page:
        page.goto(server.url)
        page.screenshot(path=ARTIFACTS / f"welcome-{scheme}-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        log_in(page, server, "W" * 64)
        expect(greeting(page)).to_contain_text("Hello")
        page.request.put(f"{server.url}/api/session/long", data=f'"{"x" * 500}"')
        backgrounds = set()
        for name, path in (("home", "/"), ("login", "/user/login"), ("not-found", "/nowhere")):
            page.goto(server.url + path)
            page.screenshot(path=ARTIFACTS / f"{name}-{scheme}-{width}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name
            backgrounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        (background,) = backgrounds
        brightness = sum(int(part) for part in background.strip("rgb()").split(","))
        assert (brightness > 600) if scheme == "light" else (brightness < 200)


def test_a_browser_keeps_its_cookie_until_it_was_told_why_the_session_ended(
    chromium: Browser, tmp_path: Path
) -> None:
    """Also when a purge has deleted the session meanwhile."""
    short = {"HELLO_TORNADO_LIFETIMES__IDLE": "1", "HELLO_TORNADO_PURGE__EVERY": "1"}
    with (
        visiting(chromium, java_script_enabled=False) as page,
        running_server(tmp_path, **short) as server,
    ):
        log_in(page, server, "Ada")
        expect(greeting(page)).to_have_text("Hello Ada")
        lasts = cookie_of(page.context)["expires"] - time.time()
        assert 3590 < lasts < 3605
        page.wait_for_timeout(2500)  # each request would be a use
        page.reload()
        expect(greeting(page)).to_have_text("Hello")
        expect(page.get_by_text(ENDINGS["expired"])).to_be_visible()
