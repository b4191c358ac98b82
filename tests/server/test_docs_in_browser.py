"""The pages that the README shows, in Debian's Chromium."""

import subprocess
import sys
from pathlib import Path

from browsing import visiting
from pages import blocks
from playwright.sync_api import Browser, expect
from running import clean_environment, wait_until_it_listens
from services import free_port


def test_the_form_and_the_script_of_the_readme_count(chromium: Browser, tmp_path: Path) -> None:
    _, code = blocks("python")
    (tmp_path / "counter.py").write_text(code, encoding="utf-8")
    port = free_port()
    program = f"import asyncio, counter; asyncio.run(counter.main({port}))"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, env=clean_environment()) as started:
        try:
            wait_until_it_listens(port)
            with visiting(chromium, "/favicon.ico") as page:
                page.goto(f"http://127.0.0.1:{port}/")
                page.get_by_role("button", name="Count", exact=True).click()
                expect(page.get_by_text("1 so far")).to_be_visible()
                page.get_by_role("button", name="Count by script").click()
                expect(page.get_by_text("2 so far")).to_be_visible()
        finally:
            started.terminate()
