"""One person on two devices: what ends on the one is seen on the other."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from browsing import ARTIFACTS, LINE, greeting, log_in, visiting
from playwright.sync_api import Browser, Page, expect
from running import Server, run_command, running_server
from services import free_port

PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1"
)
ELSEWHERE = "You were signed out from another device."


@pytest.fixture
def devices(chromium: Browser, server: Server) -> Iterator[tuple[Page, Page]]:
    """A desk and a phone, on which Ada is logged in."""
    with ExitStack() as stack:
        desk = stack.enter_context(visiting(chromium))
        phone = stack.enter_context(visiting(chromium, user_agent=PHONE))
        for page in (desk, phone):
            log_in(page, server, "Ada")
            expect(greeting(page)).to_have_text("Hello Ada")
        yield desk, phone


def devices_page(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/user/sessions")


def test_both_are_seen_one_is_ended_and_its_page_says_so(
    devices: tuple[Page, Page], server: Server
) -> None:
    desk, phone = devices
    for page in devices:
        devices_page(page, server)
    expect(desk.get_by_role("listitem")).to_have_count(2)
    ARTIFACTS.mkdir(exist_ok=True)
    desk.screenshot(path=ARTIFACTS / "devices.png", full_page=True)
    device = desk.get_by_role("listitem").filter(has_text="Safari on iPhone")
    expect(device).not_to_contain_text("This device")
    phone.evaluate("document.body.dataset.same = 'page'")
    device.get_by_role("button", name="Sign out").click()
    expect(desk.get_by_role("status")).to_contain_text("Signed out: Safari on iPhone.")
    expect(desk.get_by_role("listitem")).to_have_count(1)
    expect(phone.get_by_role("alert")).to_contain_text(ELSEWHERE)
    assert phone.evaluate("document.body.dataset.same") == "page", "without a reload"
    expect(greeting(phone)).to_have_text("Signed out")
    expect(phone.get_by_role("button", name="Log out")).to_be_hidden()
    phone.screenshot(path=ARTIFACTS / "signed-out.png")
    phone.get_by_role("link", name="Log in again").click()
    expect(phone).to_have_url(f"{server.url}/user/login")
    expect(phone.get_by_role("status")).to_contain_text(ELSEWHERE)


def test_all_others_are_ended(devices: tuple[Page, Page], server: Server) -> None:
    desk, phone = devices
    devices_page(phone, server)
    phone.get_by_role("button", name="Sign out all other devices").click()
    expect(phone.get_by_role("main")).to_contain_text("You are not signed in anywhere else.")
    expect(desk.get_by_role("alert")).to_contain_text(ELSEWHERE)
    phone.reload()
    expect(phone.get_by_role("listitem")).to_have_count(1)


def test_tabs_log_out_together(devices: tuple[Page, Page], server: Server) -> None:
    desk, phone = devices
    tab = desk.context.new_page()
    tab.goto(server.url)
    expect(greeting(tab)).to_have_text("Hello Ada")
    desk.get_by_role("button", name="Log out").click()
    expect(tab.get_by_role("alert")).to_contain_text("You have signed out.")
    expect(greeting(desk)).to_have_text("Hello")
    expect(desk.get_by_role("status")).to_be_empty()
    expect(greeting(phone)).to_be_visible()


def test_the_home_page_counts_the_time_that_is_left(devices: tuple[Page, Page]) -> None:
    desk, _ = devices
    clock = desk.locator("[data-time-left]")
    expect(clock).to_have_text(re.compile(r"in (1 h 0 s|59 min \d+ s)"))
    before = clock.inner_text()
    expect(clock).not_to_have_text(before)


def test_without_scripts_the_next_request_says_it(chromium: Browser, server: Server) -> None:
    plain = {"java_script_enabled": False}
    with (
        visiting(chromium, **plain) as desk,
        visiting(chromium, user_agent=PHONE, **plain) as phone,
    ):
        for page in (desk, phone):
            log_in(page, server, "Ada")
            expect(greeting(page)).to_have_text("Hello Ada")
        devices_page(desk, server)
        desk.get_by_role("listitem").filter(has_text="iPhone").get_by_role("button").click()
        expect(desk.get_by_role("status")).to_contain_text("Signed out: Safari on iPhone.")
        expect(greeting(phone)).to_have_text("Hello Ada")
        phone.reload()
        expect(greeting(phone)).to_have_text("Hello")
        expect(phone.get_by_role("status")).to_contain_text(ELSEWHERE)


def test_a_page_outlives_its_server_and_learns_the_end_from_the_next(
    chromium: Browser, tmp_path: Path
) -> None:
    arguments = ("--port", str(free_port()))
    with visiting(chromium, *LINE) as page:
        with running_server(tmp_path, *arguments) as server:
            log_in(page, server, "Ada")
            expect(greeting(page)).to_have_text("Hello Ada")
            expect(page.locator("[data-time-left]")).to_have_text(re.compile(r"\d s$"))
            assert server.stop() == 0, "an open socket holds nothing up"
        assert run_command(tmp_path, "sessions", "revoke", "--user", "Ada").returncode == 0
        with running_server(tmp_path, *arguments):
            expect(page.get_by_role("status")).to_contain_text(ELSEWHERE, timeout=20_000)
            expect(greeting(page)).to_have_text("Hello")


def test_an_end_in_another_process_is_seen_too(devices: tuple[Page, Page], tmp_path: Path) -> None:
    assert run_command(tmp_path, "sessions", "revoke", "--user", "Ada").returncode == 0
    for page in devices:
        expect(page.get_by_role("alert")).to_contain_text(ELSEWHERE)
