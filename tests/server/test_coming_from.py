"""The pages for people who come from elsewhere, and what a session can do: their code runs."""

import ast
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from pages import HOME, blocks
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from tornado.websocket import WebSocketClientConnection, websocket_connect

from hello_tornado.sessions import (
    SessionManager,
)
from hello_tornado.sessions.encryption import new_encryption_key

EXPRESS = HOME / "docs" / "from-express-session.md"
DIFFS = [
    ("docs/from-signed-cookies.md", 0),
    ("docs/from-pycket.md", 0),
    ("docs/from-pycket.md", 1),
    ("docs/from-flask-session.md", 0),
    ("docs/from-django.md", 0),
]


pytestmark = pytest.mark.usefixtures("somewhere")


def sides(page: str, place: int) -> tuple[str, str]:
    """The program before a page's diff, and after it."""
    lines = blocks("diff", page)[place].splitlines()
    assert all(line[:1] in {"-", "+", " "} for line in lines)
    before = [line[1:] for line in lines if not line.startswith("+")]
    after = [line[1:] for line in lines if not line.startswith("-")]
    return "\n".join(before), "\n".join(after)


class Visitor:
    """A client that keeps its cookies, and follows nothing."""

    def __init__(self, client: AsyncHTTPClient, url: str) -> None:
        self._client = client
        self._url = url
        self.cookies: dict[str, str] = {}

    async def ask(self, method: str, path: str, token: str = "", **form: str) -> HTTPResponse:
        headers = {"Cookie": self._pairs()} | ({"X-Session-Token": token} if token else {})
        answer = await self._client.fetch(
            self._url + path,
            method=method,
            headers=headers,
            body=urlencode(form) if method == "POST" else None,
            follow_redirects=False,
            raise_error=False,
        )
        for cookie in answer.headers.get_list("Set-Cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    async def connect(self, path: str) -> WebSocketClientConnection:
        headers = {"Cookie": self._pairs()}
        url = self._url.replace("http", "ws") + path
        return await websocket_connect(HTTPRequest(url, headers=headers))

    def _pairs(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    async def reads(self, path: str = "/") -> str:
        return (await self.ask("GET", path)).body.decode()


@asynccontextmanager
async def serving(app: Application) -> AsyncIterator[Visitor]:
    server = HTTPServer(app)
    socket, port = bind_unused_port()
    server.add_socket(socket)
    client = AsyncHTTPClient(force_instance=True)
    try:
        yield Visitor(client, f"http://127.0.0.1:{port}")
    finally:
        client.close()
        server.stop()
        await server.close_all_connections()
        if "session_manager" in app.settings:
            await app.settings["session_manager"].aclose()


async def after_logout_the_copy_of_the_cookie_reads(program: str) -> str:
    names: dict[str, Any] = {}
    exec(program, names)
    async with serving(names["make_app"]()) as visitor:
        assert await visitor.reads() == "Hello stranger"
        assert (await visitor.ask("POST", "/login", name="Ada")).code == 302
        assert await visitor.reads() == "Hello Ada"
        copy = dict(visitor.cookies)
        assert (await visitor.ask("POST", "/logout")).code == 302
        assert await visitor.reads() == "Hello stranger"
        visitor.cookies = copy
        return await visitor.reads()


@pytest.mark.parametrize(("page", "place"), DIFFS)
@pytest.mark.gen_test
async def test_after_the_diff_a_logout_is_final(page: str, place: int) -> None:
    before, after = sides(page, place)
    ast.parse(before)
    assert await after_logout_the_copy_of_the_cookie_reads(after) == "Hello stranger"


@pytest.mark.gen_test
async def test_before_it_a_signed_cookie_outlives_its_logout() -> None:
    before, _ = sides("docs/from-signed-cookies.md", 0)
    assert await after_logout_the_copy_of_the_cookie_reads(before) == "Hello Ada"


def test_each_page_has_as_many_diffs_as_are_run() -> None:
    pages = {page.relative_to(HOME).as_posix() for page in (HOME / "docs").glob("from-*.md")}
    assert pages - {"docs/from-express-session.md"} == {page for page, _ in DIFFS}
    assert len(DIFFS) == sum(len(blocks("diff", page)) for page in pages)


@pytest.mark.parametrize("page", ["from-express-session.md", "security-checks.md"])
def test_the_tests_that_a_page_names_exist(page: str) -> None:
    text = (HOME / "docs" / page).read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_/]+\.py)::(\w+)`", text)
    assert len(named) > 50
    for path, name in named:
        assert f"def {name}(" in (HOME / "tests" / path).read_text(encoding="utf-8"), name


def test_the_checks_are_all_there() -> None:
    text = (HOME / "docs" / "security-checks.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    found: set[str] = set()
    for word in ", ".join(cells).replace("#", "").split(","):
        first, _, last = word.strip().partition(" to ")
        letter = "A" if first.startswith("A") else ""
        numbers = [int(one.removeprefix("A")) for one in (first, last or first) if one]
        found |= {f"{letter}{n}" for n in range(numbers[0], numbers[-1] + 1)} if numbers else set()
    assert {str(n) for n in range(1, 79)} <= found
    assert {f"A{n}" for n in range(1, 87)} <= found


def test_the_table_of_express_session_shows_each_row() -> None:
    text = EXPRESS.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    headings = [row for row in rows if row.endswith("| shown by (in `tests/`) |")]
    assert len(headings) == 5
    for row in rows:
        assert row in headings or ".py::test_" in row.split("|")[-2], f"nothing shows {row}"


def test_the_table_of_express_session_has_each_option_and_method() -> None:
    """Those of its README, version 1.19."""
    text = EXPRESS.read_text(encoding="utf-8")
    options = [
        "secret",
        "name",
        "store",
        "genid",
        "resave",
        "saveUninitialized",
        "rolling",
        "proxy",
        "unset",
        "cookie",
    ]
    cookie = [
        "domain",
        "expires",
        "httpOnly",
        "maxAge",
        "partitioned",
        "path",
        "priority",
        "sameSite",
        "secure",
    ]
    methods = ["regenerate", "destroy", "reload", "save", "touch", "originalMaxAge", "id"]
    store = ["all", "clear", "length", "get", "set", "destroy", "touch"]
    for word in {*options, *cookie, *methods, *store}:
        assert re.search(rf"`[^`]*\b{word}\b[^`]*`", text), word


def more_than_a_dict() -> dict[str, Any]:
    """The names of docs/more-than-a-dict.md, its application among them."""
    charged: list[str] = []

    async def charge_the_card() -> str:
        charged.append("receipt")
        return f"number {len(charged)}"

    names: dict[str, Any] = {
        "NEW_KEY": new_encryption_key(),
        "OLD_KEY": new_encryption_key(),
        "SECRET": "of the tests, and of no one else",
        "charge_the_card": charge_the_card,
    }
    exec("".join(blocks("python", "docs/more-than-a-dict.md")), names)
    return names


@pytest.mark.gen_test
async def test_devices_and_sockets_do_what_the_page_says() -> None:
    names: dict[str, Any] = {"SECRET": "of the tests, and of no one else"}
    exec("".join(blocks("python", "docs/devices.md")), names)
    manager: SessionManager = names["manager"]
    async with serving(names["app"]) as visitor:
        await visitor.ask("POST", "/login", user="Ada")
        assert "(this device)" in await visitor.reads("/account/sessions")
        connection = await visitor.connect("/socket")
        assert await connection.read_message() == "Hello Ada"
        await connection.write_message("hello")
        assert await connection.read_message() == "1"
        await manager.revoke_user("Ada")
        assert await connection.read_message() is None
        assert (connection.close_code, connection.close_reason) == (4401, "revoked")
        connection.close()


@pytest.mark.gen_test
async def test_more_than_a_dict_does_what_it_says() -> None:
    names = more_than_a_dict()
    manager: SessionManager = names["manager"]
    async with serving(names["app"]) as visitor:
        login = await visitor.ask("POST", "/login", user="Ada", remember="on")
        assert "; Max-Age=1213200;" in login.headers["Set-Cookie"]
        assert await visitor.reads() == '{"user": "Ada", "messages": [["success", "Welcome back"]]}'
        again = await visitor.ask("POST", "/login", user="Ada")
        assert "Max-Age" not in again.headers["Set-Cookie"]

        await visitor.ask("POST", "/code")
        assert await visitor.reads("/code") == '{"is waiting": true}'
        await visitor.ask("POST", "/visit")
        assert await visitor.reads("/visit") == '{"first": "Ada", "visits": 1}'
        assert await visitor.reads("/visit") == '{"first": "Ada", "visits": 2}'
        for _ in range(2):
            await visitor.ask("POST", "/shop", item="apple")
        assert await visitor.reads("/shop") == '{"apple": 4}'
        taken = await visitor.ask("POST", "/tickets")
        assert taken.body == b'{"has_one": true, "left": 4}'
        await visitor.ask("POST", "/report")
        await names["app"].report
        (session,) = await manager.sessions_of("Ada")
        assert session["progress"] == 100
        for _ in range(2):
            paid = await visitor.ask("POST", "/pay")
            assert paid.body == b'{"receipt": "number 1"}'
        assert await visitor.reads("/status") == '{"user": "Ada"}'

        on_laptop, visitor.cookies = visitor.cookies, {}
        await visitor.ask("POST", "/login-with-cart", user="Ada")
        assert await visitor.reads("/visit") == '{"first": "Ada", "visits": 3}'

        begun = await visitor.ask("POST", "/api/pay")
        token = begun.headers["X-Session-Token"]
        paid = await visitor.ask("POST", "/api/pay", token=token)
        assert (begun.body, paid.body) == (b'{"receipt": "number 2"}',) * 2
        assert "Set-Cookie" not in begun.headers

        (here, there) = await manager.sessions_of("Ada")
        await manager.revoke_user("Ada", keep=here)
        visitor.cookies = on_laptop
        told = "You were signed out from another device"
        assert await visitor.reads() == f'{{"user": null, "messages": [["info", "{told}"]]}}'
        assert there.handle != here.handle
