"""`jupyter server` with server-side sessions, as a process; visitors without a browser."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_servers import (
    CONFIG,
    HTML,
    Visitor,
    logged_in,
    run,
    serving,
    until_closed,
)
from running import SOON, Server, free_port
from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClientConnection

from hello_tornado.sessions import SessionManager

TWO_SERVERS = "--IdentityProvider.cookie_name=two-servers"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jupyter")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    """The example as it is."""
    with serving(directory) as started:
        yield started


@pytest.fixture(scope="module")
def two_servers(directory: Path) -> Iterator[tuple[Server, Server]]:
    """Two processes that share a SQLite file and the name of their cookie."""
    with serving(directory, TWO_SERVERS) as one, serving(directory, TWO_SERVERS) as two:
        yield one, two


def url_of(directory: Path) -> str:
    return f"sqlite:///{directory}/sessions.db"


async def count(directory: Path) -> int:
    """How many sessions are stored."""
    async with SessionManager(url_of(directory), purge_every=None) as manager:
        return await manager.length()


@pytest.mark.gen_test
async def test_anonymous_visitors_see_the_login_and_begin_no_session(
    server: Server, directory: Path
) -> None:
    before = await count(directory)
    visitor = Visitor(server)
    page = await visitor.page("/files/notes.txt?a=b")
    assert (page.code, page.headers["Location"]) == (
        302,
        "/login?next=%2Ffiles%2Fnotes.txt%3Fa%3Db",
    )
    for path in ("/api/kernels", "/api/contents", "/api/me"):
        assert (await visitor.api(path)).code == 403
    assert (await visitor.page("/login")).code == 200
    with pytest.raises(HTTPClientError, match="403"):
        await visitor.socket("/api/events/subscribe")
    assert visitor.cookies.keys() == {"_xsrf"}
    assert await count(directory) == before


@pytest.mark.gen_test
async def test_a_login_goes_on_to_the_page_that_was_wanted(server: Server) -> None:
    visitor = Visitor(server)
    answer = await visitor.log_in(next_page="/files/notes.txt?a=b")
    assert (answer.code, answer.headers["Location"]) == (302, "/files/notes.txt?a=b")
    assert await visitor.me() == "ada"
    assert (await visitor.page("/login")).headers["Location"] == "/"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://example.org/",
        "//example.org/",
        "/\\example.org/",
        "http:///example.org/",
        "javascript:alert(1)",
    ],
)
@pytest.mark.gen_test
async def test_a_login_never_leads_to_another_site(server: Server, elsewhere: str) -> None:
    visitor = Visitor(server)
    answer = await visitor.log_in(next_page=elsewhere)
    leads_to = answer.headers["Location"]
    assert answer.code == 302
    assert leads_to == "/" or leads_to.startswith("/%5C")  # a path of this server


@pytest.mark.gen_test
async def test_a_wrong_password_logs_nobody_in(server: Server, directory: Path) -> None:
    before = await count(directory)
    visitor = Visitor(server)
    for name, password in (("ada", "hopper"), ("nobody", ""), ("", "lovelace")):
        answer = await visitor.send("/login", username=name, password=password)
        assert answer.code == 401
        assert "Wrong name or password." in answer.body.decode()
    assert await visitor.me() is None
    assert await count(directory) == before


@pytest.mark.gen_test
async def test_a_login_renews_the_session_id(server: Server) -> None:
    """An id from before the login is worthless, whoever knows it."""
    visitor = await logged_in(server)
    thief = Visitor(server)
    thief.cookies |= visitor.cookies
    old = visitor.session_cookie
    page = await visitor.ask("/logout", **HTML)  # a page of the person with the form's token
    token = visitor.cookies["_xsrf"]
    assert page.code == 200
    form = f"username=ada&password=lovelace&_xsrf={token}"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await visitor.ask("/login", "POST", form, **kind)).code == 302
    assert visitor.session_cookie != old
    assert (await visitor.me(), await thief.me()) == ("ada", None)


@pytest.mark.gen_test
async def test_a_logout_ends_the_session_also_for_a_copy_of_the_cookie(server: Server) -> None:
    visitor, other = await logged_in(server), await logged_in(server)
    copy = Visitor(server)
    copy.cookies |= visitor.cookies
    assert (await visitor.page("/logout")).code == 200
    assert await copy.me() == "ada"  # a link to the page has not logged out
    answer = await visitor.send("/logout")
    assert (answer.code, answer.headers["Location"]) == (303, "/login")
    assert (await copy.me(), await visitor.me(), await other.me()) == (None, None, "ada")
    assert (await copy.page("/files/a")).headers["Location"] == "/login?next=%2Ffiles%2Fa"
    assert (await visitor.page("/logout")).headers["Location"] == "/login"


@pytest.mark.gen_test
async def test_forms_and_the_api_need_the_xsrf_token(server: Server) -> None:
    visitor = await logged_in(server)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for path in ("/logout", "/login", "/api/kernels"):
        assert (await visitor.ask(path, "POST", "everywhere=1", **kind)).code == 403
    foreign = {"Origin": "https://example.org", "X-XSRFToken": visitor.cookies["_xsrf"]}
    assert (await visitor.ask("/logout", "POST", "", **foreign)).code == 404  # so says jupyter
    assert await visitor.me() == "ada"
    assert (await visitor.api("/api/terminals", "POST", {})).code == 200


@pytest.mark.gen_test
async def test_a_logout_closes_the_sockets_of_the_session_within_a_second(server: Server) -> None:
    visitor, other = await logged_in(server), await logged_in(server)
    kernel = await visitor.start_kernel()
    terminal = json.loads((await visitor.api("/api/terminals", "POST", {})).body)["name"]
    sockets = [
        await visitor.kernel_socket(kernel),
        await visitor.socket(f"/terminals/websocket/{terminal}"),
        await visitor.socket("/api/events/subscribe"),
    ]
    others = await other.kernel_socket(kernel)
    assert await run(sockets[0], "print(6 * 7)") == "42\n"
    assert (await visitor.send("/logout")).code == 303
    await assert_closed(sockets, "logged_out")
    assert await run(others, "print(2 + 3)") == "5\n"  # that session and the kernel go on
    with pytest.raises(HTTPClientError, match="403"):
        await visitor.kernel_socket(kernel)
    await close(others)


@pytest.mark.gen_test
async def test_a_logout_everywhere_closes_the_sockets_in_all_processes(
    two_servers: tuple[Server, Server],
) -> None:
    """It is asked for in another browser, at the second server."""
    one, two = two_servers
    visitor, other, grace = (
        await logged_in(one),
        await logged_in(two),
        await logged_in(one, "grace"),
    )
    assert await visitor.at(two).me() == "ada"  # one session for both servers
    sockets, kernels = [], []
    for server in two_servers:
        kernels.append(await visitor.at(server).start_kernel())
        sockets.append(await visitor.at(server).kernel_socket(kernels[-1]))
        assert await run(sockets[-1], "print(6 * 7)") == "42\n"
    hers = await grace.kernel_socket(kernels[0])
    assert (await other.send("/logout", everywhere="1")).code == 303
    await assert_closed(sockets, "revoked")
    for server in two_servers:
        assert (await visitor.at(server).me(), await other.at(server).me()) == (None, None)
    assert "You were signed out." in (await visitor.page("/login")).body.decode()
    assert await run(hers, "print(2 + 3)") == "5\n"
    await close(hers)


@pytest.mark.gen_test
async def test_another_program_ends_sessions_of_a_user(server: Server, directory: Path) -> None:
    visitor = await logged_in(server, "grace")
    socket = await visitor.socket("/api/events/subscribe")
    async with SessionManager(url_of(directory), purge_every=None) as manager:
        assert await manager.revoke_user("grace") >= 1
    await assert_closed([socket], "revoked")
    assert await visitor.me() is None


@pytest.mark.gen_test
async def test_a_restart_keeps_people_signed_in(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, port=port) as first:
        visitor = await logged_in(first)
        assert (await visitor.api("/api/me", "PATCH", {"color": "teal"})).code == 200
    with serving(tmp_path, port=port) as second:
        visitor = visitor.at(second)
        assert await visitor.me() == "ada"
        assert b'"color": "teal"' in (await visitor.api("/api/me")).body
        assert (await visitor.send("/logout")).code == 303
        assert await visitor.me() is None


async def assert_closed(sockets: list[WebSocketClientConnection], reason: str) -> None:
    """Each socket is closed within a second from now, for this reason."""
    now = time.monotonic()
    for moment, code, why in await asyncio.gather(*map(until_closed, sockets)):
        assert (code, why) == (4401, reason)
        assert moment - now < SOON


async def close(*sockets: WebSocketClientConnection) -> None:
    for socket in sockets:
        socket.close()
        await until_closed(socket)


def test_the_page_has_the_example() -> None:
    page = CONFIG.parent.parent.parent / "docs/jupyter.md"
    assert CONFIG.read_text(encoding="utf-8") in page.read_text(encoding="utf-8")
