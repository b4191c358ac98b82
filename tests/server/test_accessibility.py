"""Every page, light and dark, narrow, wide and at 400 %: axe-core finds nothing to complain of.

axe-core comes from the npm registry: `npm install --no-save --no-package-lock axe-core@4`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from browsing import ARTIFACTS, LINE, greeting, visiting
from playwright.sync_api import Browser, Page, expect
from redis import Redis
from running import PASSWORD, PASSWORD_MODE, Server, running, running_server, user_command
from services import redis_node

PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) Version/19.1 Safari/604.1"
WINDOWS: dict[str, dict[str, float]] = {
    "320": {"width": 320, "height": 640, "deviceScaleFactor": 1},
    "390": {"width": 390, "height": 844, "deviceScaleFactor": 1},
    "1280": {"width": 1280, "height": 800, "deviceScaleFactor": 1},
    # What a window of 1280 by 1024 has left at 400 %.
    "zoomed": {"width": 320, "height": 256, "deviceScaleFactor": 4},
}
pytestmark = pytest.mark.timeout(180)  # each page is judged in eight looks
Scheme = Literal["light", "dark"]
SCHEMES: list[Scheme] = ["light", "dark"]
LOOKS = {f"{one}-{name}": (one, size) for one in SCHEMES for name, size in WINDOWS.items()}
COLOURS_HAVE_CHANGED = "Promise.all(document.getAnimations().map(one => one.finished))"
NAMES = {
    "long": "W" * 64,
    "right-to-left": "\u05d0\u05d3\u05d4 1",
    "emoji": "Ada \U0001f468\u200d\U0001f469\u200d\U0001f467",
}
APPLICATION = """
import asyncio
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from hello_tornado.sessions import SessionManager, SessionMixin
from hello_tornado.sessions.web.account.handlers import account_routes

class Login(SessionMixin, RequestHandler):
    def get(self):
        self.session.login("ada")
        self.redirect("/account/sessions")

class Icon(RequestHandler):
    def get(self):
        self.set_status(204)

async def main():
    listening, port = bind_unused_port()
    HTTPServer(Application(
        [("/login", Login), ("/favicon.ico", Icon), *account_routes("/account")],
        cookie_secret="a secret of this test and of no other",
        login_url="/login",
        session_manager=SessionManager("memory://"),
    )).add_socket(listening)
    print(f"listening http://127.0.0.1:{port}/", "settings  none", sep="\\n", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
REFUSED = ("/user/login", "/user/logout", "/user/password", "/nowhere", "/", *LINE)


@pytest.fixture
def look_at(chromium: Browser, axe: str) -> Any:
    """A browser, and a function that judges and keeps what it shows, in each look."""
    ARTIFACTS.mkdir(exist_ok=True)

    def judge(page: Page, name: str) -> None:
        page.evaluate(axe)
        window = page.context.new_cdp_session(page)
        for look, (scheme, size) in LOOKS.items():
            page.emulate_media(color_scheme=scheme)
            window.send("Emulation.setDeviceMetricsOverride", {**size, "mobile": False})
            page.evaluate(COLOURS_HAVE_CHANGED)
            found = page.evaluate("axe.run()")
            wrong = [
                (one["id"], [it["html"] for it in one["nodes"]]) for one in found["violations"]
            ]
            assert wrong == [], f"{name}, {look}"
            width = page.evaluate("document.documentElement.clientWidth")
            assert width == size["width"], "the window has the width that it was given"
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name}, {look}"
            page.screenshot(path=ARTIFACTS / f"{name}-{look}.png", full_page=True)
        window.detach()

    @contextmanager
    def visitor(**options: Any) -> Iterator[Page]:
        with visiting(chromium, *REFUSED, **options) as page:
            yield page

    return visitor, judge


def log_in(page: Page, server: Server, password: str | None = None) -> None:
    page.goto(f"{server.url}/user/login")
    page.get_by_label("Your name").fill("Ada")
    if password is not None:
        page.get_by_label("Your password").fill(password)
    page.keyboard.press("Enter")


def test_the_pages_of_an_open_server(look_at: Any, server: Server) -> None:
    visitor, judge = look_at
    with visitor() as page, visitor(user_agent=PHONE) as phone:
        page.goto(server.url)
        judge(page, "welcome")
        page.goto(f"{server.url}/user/login")
        judge(page, "login")
        page.get_by_label("Your name").fill("\u202eevil")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_visible()
        judge(page, "login-refused")
        log_in(page, server)
        expect(greeting(page)).to_have_text("Hello Ada")
        judge(page, "home")
        page.request.put(f"{server.url}/api/session/long", data=f'"{"x" * 500}"')
        page.reload()
        judge(page, "home-with-data")
        page.goto(f"{server.url}/user/sessions")
        judge(page, "devices-only-this")
        log_in(phone, server)
        expect(greeting(phone)).to_have_text("Hello Ada")
        phone.goto(f"{server.url}/user/sessions")
        phone.locator("summary").first.click()
        judge(phone, "devices")
        phone.get_by_role("button", name="Sign out all other devices").click()
        expect(phone.get_by_role("status")).to_contain_text("Signed out on one other device.")
        judge(phone, "devices-after-signing-out")
        expect(page.get_by_role("alert")).to_contain_text("You were signed out")
        judge(page, "signed-out")
        page.goto(server.url)
        judge(page, "welcome-after-signing-out")
        page.goto(f"{server.url}/nowhere")
        judge(page, "not-found")
        page.goto("about:blank")
        page.set_content(f'<form action="{server.url}/user/logout" method="post"><button>')
        page.get_by_role("button").click()
        expect(greeting(page)).to_have_text("Forbidden")
        judge(page, "forbidden")


def test_the_pages_of_accounts(look_at: Any, tmp_path: Path) -> None:
    visitor, judge = look_at
    user_command(tmp_path, PASSWORD_MODE, "add", "Ada", "--password-stdin")
    with running_server(tmp_path, **PASSWORD_MODE) as server, visitor() as page:
        page.goto(f"{server.url}/user/login")
        judge(page, "password-login")
        log_in(page, server, "wrong")
        expect(page.get_by_role("alert")).to_contain_text("Wrong name or password")
        judge(page, "password-login-refused")
        log_in(page, server, PASSWORD)
        expect(greeting(page)).to_have_text("Hello Ada")
        page.goto(f"{server.url}/user/password")
        judge(page, "password")
        page.get_by_label("Your current password").fill(PASSWORD)
        page.get_by_label("Your new password").fill("password")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("too easy")
        judge(page, "password-refused")


def test_the_page_of_a_server_without_its_store(look_at: Any, tmp_path: Path) -> None:
    visitor, judge = look_at
    with visitor() as page, redis_node() as port:
        url = f"redis://127.0.0.1:{port}"
        with running_server(tmp_path, HELLO_TORNADO_STORE__URL=url) as server:
            log_in(page, server)
            expect(greeting(page)).to_have_text("Hello Ada")
            Redis(port=port).shutdown(nosave=True)
            page.goto(server.url)
            expect(greeting(page)).to_have_text("Service Unavailable")
            judge(page, "unavailable")


def test_names_of_any_length_and_direction(look_at: Any, server: Server) -> None:
    visitor, judge = look_at
    for kind, name in NAMES.items():
        with visitor() as page:
            page.goto(f"{server.url}/user/login")
            page.get_by_label("Your name").fill(name)
            page.keyboard.press("Enter")
            expect(greeting(page)).to_contain_text(name)
            judge(page, f"home-{kind}")
            page.goto(f"{server.url}/user/sessions")
            judge(page, f"devices-{kind}")


def test_the_librarys_own_page_of_devices(look_at: Any, tmp_path: Path) -> None:
    visitor, judge = look_at
    command = [sys.executable, "-c", APPLICATION]
    with visitor() as page, running(command, tmp_path) as server:
        for _ in range(22):
            server.request("GET", "/login")
        page.goto(f"{server.url}/login")
        expect(greeting(page)).to_have_text("Your devices")
        judge(page, "library-devices")
        page.locator("summary").first.click()
        page.get_by_role("link", name="Older").click()
        expect(page.get_by_text("Page 2 of 2")).to_be_visible()
        judge(page, "library-devices-page-2")
        page.get_by_role("button", name="Sign out all other devices").click()
        expect(page.get_by_role("status")).to_contain_text("Signed out on 22 other devices.")
        judge(page, "library-devices-after-signing-out")
