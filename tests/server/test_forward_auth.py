"""`/auth/check`, by which a proxy protects another program; nginx, Caddy and Flower for real."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.request import Request, urlopen

import pytest
from browsing import visiting
from pages import blocks
from playwright.sync_api import Browser, Page
from running import (
    Answer,
    Server,
    clean_environment,
    free_port,
    received,
    running_server,
    wait_until_it_listens,
)
from services import missing
from visiting import Visits

EXAMPLE = Path(__file__).parents[2] / "examples/flower-behind-nginx"
PAGE = {"Accept": "text/html,application/xhtml+xml"}


class TestCheck(Visits):
    def test_whoever_has_logged_in_passes_and_the_program_is_told_who(self) -> None:
        self.log_in("Ada")
        answer = self.visit("/auth/check")
        assert (answer.code, answer.body) == (200, b"")
        assert answer.headers["X-Auth-User"] == "ada"
        assert answer.headers["Cache-Control"] == "no-store"

    def test_an_id_that_no_header_can_carry_is_percent_encoded(self) -> None:
        self.log_in("Žofie % 雪")
        answer = self.visit("/auth/check")
        assert answer.headers["X-Auth-User"] == "%C5%BEofie%20%25%20%E9%9B%AA"

    def test_nobody_else_passes_and_no_session_begins(self) -> None:
        for cookie in ("", "session=forged", "__Host-session=2|x"):
            answer = self.visit("/auth/check", Cookie=cookie)
            assert (answer.code, answer.body) == (401, b"")
            assert "Set-Cookie" not in answer.headers or "Max-Age=0" in answer.headers["Set-Cookie"]
            assert "X-Auth-User" not in answer.headers

    def test_a_session_without_a_login_does_not_pass(self) -> None:
        self.visit("/api/session/color", "PUT", body='"red"')
        assert self.cookie is not None
        assert self.visit("/auth/check").code == 401

    def test_after_a_logout_nobody_passes_with_the_old_cookie(self) -> None:
        self.log_in("Ada")
        cookie = str(self.cookie)
        self.visit("/user/logout", "POST")
        assert self.visit("/auth/check", Cookie=cookie).code == 401

    def test_a_use_of_the_other_program_keeps_the_session_alive(self) -> None:
        self.log_in("Ada")
        for _ in range(4):
            self.clock.advance(minutes=20)
            assert self.visit("/auth/check").code == 200

    def test_the_login_leads_back_to_what_was_asked_for(self) -> None:
        for name in ("X-Original-URI", "X-Forwarded-Uri"):
            answer = self.visit("/auth/check", **{name: "/flower/task/1?a=b&c=d"})
            assert answer.headers["X-Auth-Login"] == (
                "/user/login?next=%2Fflower%2Ftask%2F1%3Fa%3Db%26c%3Dd"
            )

    def test_the_login_leads_nowhere_else(self) -> None:
        elsewhere = ["//evil.example/", "https://evil.example/", "/\\evil.example", "/%0d%0aX:y"]
        for target in [*elsewhere, "flower", "", "/" + "a" * 3000]:
            answer = self.visit("/auth/check", **{"X-Original-URI": target})
            assert answer.headers["X-Auth-Login"] == "/user/login"

    def test_a_proxy_that_passes_our_answer_on_can_have_a_redirect_for_pages(self) -> None:
        for headers in (PAGE, {"Sec-Fetch-Mode": "navigate"}, PAGE | {"X-Forwarded-Method": "GET"}):
            answer = self.visit("/auth/check?redirect", **{"X-Forwarded-Uri": "/x"} | headers)
            assert answer.code == 303
            assert answer.headers["Location"] == "/user/login?next=%2Fx"

    def test_what_is_no_page_gets_a_401_and_no_redirect(self) -> None:
        for headers in (
            {},
            {"Accept": "application/json"},
            PAGE | {"X-Forwarded-Method": "POST"},
            PAGE | {"Sec-Fetch-Mode": "cors"},
        ):
            assert self.visit("/auth/check?redirect", **headers).code == 401

    def test_while_the_store_is_down_nobody_passes(self) -> None:
        self.log_in("Ada")
        self.store.is_down = True
        assert self.visit("/auth/check").code == 503


@contextmanager
def process(*command: str | Path, port: int, **environment: str) -> Iterator[None]:
    with (
        TemporaryDirectory() as directory,
        subprocess.Popen(
            command,
            cwd=directory,
            env=clean_environment() | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as started,
    ):
        try:
            wait_until_it_listens(port)
            yield
        finally:
            started.terminate()


@contextmanager
def nginx(directory: Path, front: int, ports: dict[str, str]) -> Iterator[None]:
    """nginx with the example's configuration, with *ports* for those in it, at *front*."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing("nginx is missing: install Debian's package nginx")
    text = (EXAMPLE / "nginx.conf").read_text(encoding="utf-8")
    for old, new in ports.items():
        assert old in text
        text = text.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    settings = directory / "nginx.conf"
    settings.write_text(
        f"daemon off;\npid {directory}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{text}\n}}\n"
    )
    with process(program, "-c", settings, "-e", "stderr", port=front):
        yield


class Site:
    """The example: nginx in front of the server and of Flower."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.url = f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    front, flower = free_port(), free_port()
    command = [
        *(sys.executable, "-m", "celery", "--broker=memory://", "flower"),
        *("--address=127.0.0.1", f"--port={flower}", "--url_prefix=flower"),
    ]
    proxies = {"HELLO_TORNADO_SERVER__PROXIES": "127.0.0.1"}
    with ExitStack() as stack:
        server = stack.enter_context(running_server(directory, "--port", "0", **proxies))
        ports = {
            "listen 8080": f"listen 127.0.0.1:{front}",
            "127.0.0.1:8888": f"127.0.0.1:{server.port}",
            "127.0.0.1:5555": f"127.0.0.1:{flower}",
        }
        stack.enter_context(nginx(directory, front, ports))
        stack.enter_context(process(*command, port=flower))
        yield Site(server, front)


def log_in(page: Page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.keyboard.press("Enter")


def test_flower_asks_for_a_login_first_and_is_closed_again_by_a_logout(
    site: Site, chromium: Browser
) -> None:
    flower = f"{site.url}/flower/tasks?state=FAILURE"
    with visiting(chromium) as page:
        page.goto(flower)
        assert page.url.startswith(f"{site.url}/user/login?next=")
        log_in(page, "Ada")
        page.wait_for_url(flower)
        assert "Flower" in page.title()
        elsewhere = page.context.new_page()
        elsewhere.goto(site.url)
        elsewhere.get_by_role("button", name="Log out").click()
        page.goto(flower)
        assert page.url.startswith(f"{site.url}/user/login?next=")


def test_nobody_can_ask_for_the_check_or_claim_to_be_somebody(site: Site) -> None:
    server = Server(site.server.process, int(site.url.rpartition(":")[2]))
    assert server.request("GET", "/auth/check")[0] == 404
    status, headers, _ = server.request("GET", "/flower/api/workers", cookie="session=forged")
    assert status == 303
    assert headers["Location"].endswith("/user/login?next=%2Fflower%2Fapi%2Fworkers")


class Echo(BaseHTTPRequestHandler):
    """A program behind the proxy, which answers with the headers that have reached it."""

    def do_GET(self) -> None:
        body = json.dumps(dict(self.headers)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_the_program_learns_who_it_is_and_never_the_id_of_the_session(
    site: Site, tmp_path: Path
) -> None:
    front = free_port()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as program:
        Thread(target=program.serve_forever).start()
        ports = {
            "listen 8080": f"listen 127.0.0.1:{front}",
            "127.0.0.1:8888": f"127.0.0.1:{site.server.port}",
            "127.0.0.1:5555": f"127.0.0.1:{program.server_port}",
        }
        with nginx(tmp_path, front, ports):
            cookie = site.server.log_in("Ada")
            for cookies in (cookie, f"a=1; {cookie}; b=2", f"a=1; {cookie}", f"{cookie}; b=2"):
                url = f"http://127.0.0.1:{front}/flower/"
                asked = Request(url, headers={"Cookie": cookies, "X-Auth-User": "bob"})
                with urlopen(asked) as answer:
                    headers = json.load(answer)
                assert headers["X-Auth-User"] == "ada"
                assert "session" not in headers.get("Cookie", "")
                others = {one for one in ("a=1", "b=2") if one in cookies}
                assert {*headers.get("Cookie", "").rstrip("; ").split("; ")} - {""} == others
        program.shutdown()


def test_the_lines_on_the_page_are_those_of_the_example() -> None:
    (page,) = blocks("nginx", "docs/forward-auth.md")
    example = (EXAMPLE / "nginx.conf").read_text(encoding="utf-8").splitlines()
    assert {line.strip() for line in page.splitlines()} <= {line.strip() for line in example}


def test_caddy_asks_for_a_login_first_and_tells_the_program_who_it_is(
    site: Site, tmp_path: Path
) -> None:
    caddy = shutil.which("caddy")
    if caddy is None:
        missing("caddy is missing: install Debian's package caddy")
    front = free_port()
    (text,) = blocks("caddyfile", "docs/forward-auth.md")
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as program:
        Thread(target=program.serve_forever).start()
        text = text.replace(":8080", f"http://127.0.0.1:{front}")
        text = text.replace("127.0.0.1:8888", f"127.0.0.1:{site.server.port}")
        text = text.replace("127.0.0.1:5555", f"127.0.0.1:{program.server_port}")
        settings = tmp_path / "Caddyfile"
        settings.write_text(f"{{\n  admin off\n}}\n{text}")
        command = (str(caddy), "run", "--adapter", "caddyfile", "--config", settings)
        with process(*command, port=front, HOME=str(tmp_path), XDG_DATA_HOME=str(tmp_path)):
            proxy = Server(site.server.process, front)
            status, headers, _ = asked_for_a_page(proxy, "/flower/tasks?state=FAILURE")
            assert status == 303
            assert headers["Location"] == "/user/login?next=%2Fflower%2Ftasks%3Fstate%3DFAILURE"
            cookie = proxy.log_in("Ada")
            status, _, body = asked_for_a_page(proxy, "/flower/", cookie)
            assert (status, json.loads(body)["X-Auth-User"]) == (200, "ada")
            proxy.request("POST", "/user/logout", {}, cookie)
            assert asked_for_a_page(proxy, "/flower/", cookie)[0] == 303
        program.shutdown()


def asked_for_a_page(server: Server, path: str, cookie: str = "") -> Answer:
    """The answer to a browser that wants to show a page, and claims to be somebody."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = PAGE | {"Cookie": cookie, "X-Auth-User": "bob"}
    connection.request("GET", path, headers=headers)
    return received(connection)
