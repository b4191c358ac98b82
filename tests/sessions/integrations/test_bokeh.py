"""`bokeh serve` with the example's auth module, in two processes; no browser is needed."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from bokeh.document import Document
from bokeh.util.token import get_session_id, get_token_payload
from bokeh_servers import (
    EXAMPLE,
    SECRET,
    Visitor,
    ada,
    auth_with,
    close,
    serving,
    sockets_in_both_processes,
    until_closed,
    url_of,
)
from running import SOON, Server, free_port
from tornado.httpclient import HTTPClientError
from tornado.web import Application

from hello_tornado.sessions import SessionManager, TokenPolicy
from hello_tornado.sessions.errors import ConfigurationError, SessionNotLoaded
from hello_tornado.sessions.integrations.bokeh import BokehSessions, session_of
from hello_tornado.sessions.testing import session_headers


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bokeh")


@pytest.fixture(scope="module")
def server(directory: Path) -> Iterator[Server]:
    """Two processes that share a SQLite file, with the example as it is."""
    with serving(directory, str(EXAMPLE / "app.py"), "--num-procs", "2") as started:
        yield started


@pytest.mark.gen_test
async def test_the_cookie_is_nowhere_in_the_page(server: Server) -> None:
    """Nor in the token, with which the page opens its document; other cookies are in it."""
    visitor = await ada(server)
    visitor.cookies["theme"] = "dark"
    cookie = visitor.cookies["session"]
    answer = await visitor.ask("/app")
    assert cookie not in answer.body.decode()
    assert answer.headers["Cache-Control"] == "no-store"
    for cookies in ({"theme": "dark", "session": cookie}, {"session": cookie}):
        visitor.cookies = cookies
        payload = get_token_payload(await visitor.token())
        assert payload["cookies"] == {name: cookies[name] for name in cookies if name != "session"}
        assert cookie not in str(payload)
        assert "Host" in payload["headers"]
    autoload = await visitor.ask("/app/autoload.js?bokeh-autoload-element=1")
    found = re.search(r'"token":"([^"]+)"', autoload.body.decode())
    assert found
    assert cookie not in autoload.body.decode() + str(get_token_payload(found[1]))


@pytest.mark.gen_test
async def test_anonymous_visitors_see_the_login_and_leave_nothing_in_the_store(
    server: Server, directory: Path
) -> None:
    visitor = Visitor(server)
    token = await (await ada(server)).token()
    async with SessionManager(url_of(directory)) as manager:
        before = await manager.length()
        for path, login in {
            "/app?x=1": "./login?next=%2Fapp%3Fx%3D1",
            "/app/": "../login?next=%2Fapp%2F",
            "/": "./login?next=%2F",
            "/app/metadata": "../login?next=%2Fapp%2Fmetadata",
        }.items():
            answer = await visitor.ask(path)
            assert (answer.code, answer.headers["Location"]) == (302, login)
            assert "session" not in visitor.cookies
        assert (await visitor.ask("/static/js/bokeh.min.js")).code == 200  # is for everybody
        assert (await visitor.ask("/login")).code == 200
        assert (await visitor.ask("/logout")).headers["Location"] == "./login"
        assert (await visitor.send("/login", username="ada", password="no")).code == 403
        with pytest.raises(HTTPClientError, match="403"):
            await visitor.socket(token)
        assert "session" not in visitor.cookies
        assert await manager.length() == before


@pytest.mark.parametrize(
    ("wanted", "leads_to"),
    [
        ("/app?x=1", "./app?x=1"),
        ("", "./"),
        ("//evil.example/", "./"),
        ("/\\evil.example", "./"),
        ("https://evil.example/", "./"),
        ("javascript:alert(1)", "./"),
        ("/x\r\nSet-Cookie: a=b", "./"),
    ],
)
@pytest.mark.gen_test
async def test_a_login_leads_to_this_server_only(
    server: Server, wanted: str, leads_to: str
) -> None:
    visitor = Visitor(server)
    answer = await visitor.send("/login", username="ada", password="lovelace", next=wanted)
    assert (answer.code, answer.headers["Location"]) == (303, leads_to)
    again = await visitor.ask(f"/login?{urlencode({'next': wanted})}")
    assert (again.code, again.headers["Location"]) == (303, leads_to)


@pytest.mark.gen_test
async def test_forms_of_other_sites_are_refused(server: Server) -> None:
    visitor = Visitor(server)
    form = {"username": "ada", "password": "lovelace"}
    page = await visitor.ask("/login")
    found = re.search(r'name="_xsrf" value="([^"]+)"', page.body.decode())
    assert found
    token = {"_xsrf": found[1]}
    assert (await visitor.ask("/login", form)).code == 403
    assert (await visitor.ask("/login", form | {"_xsrf": "2|a|b|1"})).code == 403
    for site in ("cross-site", "same-site"):
        answer = await visitor.ask("/login", form | token, **{"Sec-Fetch-Site": site})
        assert answer.code == 403
        assert b"out of date" in answer.body
    assert "session" not in visitor.cookies
    assert (await visitor.ask("/login", form | token)).code == 303
    assert (await visitor.ask("/logout", {"everywhere": "1"})).code == 403
    assert (await visitor.ask("/app")).code == 200
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.gen_test
async def test_a_login_renews_the_id(server: Server) -> None:
    """Of a session that is there already, its values stay; the old cookie is worth nothing."""
    visitor = await ada(server)
    old = Visitor(server)
    old.cookies = dict(visitor.cookies)
    connection = await visitor.socket()
    closing = asyncio.create_task(until_closed(connection))
    handle_of_form = await visitor.ask("/logout")  # a page with a form's token
    found = re.search(r'name="_xsrf" value="([^"]+)"', handle_of_form.body.decode())
    assert found
    form = {"username": "ada", "password": "lovelace", "_xsrf": found[1]}
    assert (await visitor.ask("/login", form)).code == 303
    assert visitor.cookies["session"] != old.cookies["session"]
    assert (await old.ask("/app")).code == 302
    assert (await visitor.ask("/app")).code == 200
    assert (await closing)[1] == 4401


@pytest.mark.gen_test
async def test_a_session_begun_elsewhere_gets_another_id_with_the_login(
    server: Server, directory: Path
) -> None:
    """An attacker who knows the id of an anonymous session is not logged in by its victim."""
    async with SessionManager(url_of(directory)) as manager:
        app = Application(cookie_secret=SECRET, session_manager=manager)
        headers = await session_headers(app, cart="apple")
        victim, attacker = Visitor(server), Visitor(server)
        attacker.cookies["session"] = headers["Cookie"].partition("=")[2]
        victim.cookies = dict(attacker.cookies)
        assert (await victim.ask("/app")).code == 302
        assert (await victim.log_in("ada", "lovelace")).code == 303
        assert (await attacker.ask("/app")).code == 302
        (session, *_) = await manager.sessions_of("ada")
        assert session["cart"] == "apple"


@pytest.mark.gen_test
async def test_a_document_is_its_users(server: Server) -> None:
    """Whoever knows another user's token, in whichever way they use it, gets nothing."""
    visitor, other = await ada(server), Visitor(server)
    assert (await other.log_in("grace", "hopper")).code == 303
    token = await visitor.token()
    opened = await sockets_in_both_processes(visitor, token)
    document = get_session_id(token)
    for path in (f"/app?bokeh-token={token}", f"/app?bokeh-session-id={document}"):
        for _ in range(20):  # by whichever process
            assert (await other.ask(path)).code == 403
    assert (await other.ask("/app", **{"Bokeh-Session-Id": document})).code == 403
    for _ in range(20):
        with pytest.raises(HTTPClientError, match="403"):
            await other.socket(token)
    again = await ada(server)  # the same user, with another session
    await close(await again.socket(token), *opened)


STORES = ["sqlite", "redis", "postgresql"]


@pytest.fixture(params=STORES)
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return url_of(tmp_path)
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


async def log_out_everywhere(visitor: Visitor, _manager: SessionManager) -> None:
    assert (await visitor.send("/logout", everywhere="1")).headers["Location"] == "./login"


async def log_out(visitor: Visitor, _manager: SessionManager) -> None:
    assert (await visitor.send("/logout")).headers["Location"] == "./login"


async def revoke(_visitor: Visitor, manager: SessionManager) -> None:
    """By another program that has the store."""
    assert await manager.revoke_user("ada") == 2


@pytest.mark.gen_test
async def test_documents_end_with_their_session_within_a_second(
    shared_url: str, tmp_path: Path
) -> None:
    """In both processes; after a logout everywhere and a revocation on another device, too."""
    auth = auth_with(f"SessionManager({shared_url!r})")
    arguments = (str(EXAMPLE / "app.py"), "--num-procs", "2")
    with serving(tmp_path, *arguments, auth=auth) as server:
        async with SessionManager(shared_url) as manager:
            for end, ends_other in ((log_out, False), (log_out_everywhere, True), (revoke, True)):
                visitor, other = await ada(server), await ada(server)
                mine = await sockets_in_both_processes(visitor)
                others = await sockets_in_both_processes(other)
                closings = [asyncio.create_task(until_closed(one)) for one in mine]
                closings_there = [asyncio.create_task(until_closed(one)) for one in others]
                began = time.monotonic()
                await end(visitor, manager)
                due = closings + closings_there if ends_other else closings
                for moment, code in await asyncio.gather(*due):
                    assert code == 4401
                    assert moment - began < SOON
                assert [one.done() for one in closings_there] == [ends_other] * len(others)
                await manager.revoke_user("ada")
                await asyncio.gather(*closings_there)
                with pytest.raises(HTTPClientError, match="403"):
                    await visitor.socket("token")


@pytest.mark.gen_test
async def test_panel_in_two_processes(tmp_path: Path) -> None:
    arguments = (str(EXAMPLE / "panel_app.py"), "--num-procs", "2")
    with serving(tmp_path, *arguments, program="panel") as server:
        anonymous = Visitor(server, "/panel_app")
        answer = await anonymous.ask("/panel_app")
        assert answer.headers["Location"] == "./login?next=%2Fpanel_app"
        answer = await anonymous.ask("/panel_app/")
        assert answer.headers["Location"] == "../login?next=%2Fpanel_app%2F"
        visitor = await ada(server, "/panel_app")
        with pytest.raises(HTTPClientError, match="403"):
            await anonymous.socket(await visitor.token())
        opened = await sockets_in_both_processes(visitor)
        closings = [asyncio.create_task(until_closed(one)) for one in opened]
        began = time.monotonic()
        assert (await visitor.send("/logout")).code == 303
        for moment, code in await asyncio.gather(*closings):
            assert code == 4401
            assert moment - began < SOON


@pytest.mark.gen_test
async def test_over_https_the_cookie_is_secure_and_nowhere_in_the_page(tmp_path: Path) -> None:
    """Its name is another one then."""
    with serving(tmp_path, str(EXAMPLE / "app.py"), "--use-xheaders") as server:
        visitor, https = Visitor(server), {"X-Forwarded-Proto": "https"}
        page = await visitor.ask("/login", **https)
        found = re.search(r'name="_xsrf" value="([^"]+)"', page.body.decode())
        assert found
        form = {"username": "ada", "password": "lovelace", "_xsrf": found[1]}
        answer = await visitor.ask("/login", form, **https)
        assert answer.code == 303
        assert "; Secure" in answer.headers["Set-Cookie"]
        cookie = visitor.cookies["__Host-session"]
        assert cookie not in (await visitor.ask("/app", **https)).body.decode()
        assert cookie not in str(get_token_payload(await visitor.token(**https)))


TICKS = """
from bokeh.io import curdoc
from hello_tornado.sessions.integrations.bokeh import session_of

document = curdoc()

def tick():
    session = session_of(document)
    print("tick", session.ended, session.user_id, session.get("clicks"), flush=True)

document.add_periodic_callback(tick, 50)
"""


@pytest.mark.gen_test
async def test_a_document_follows_its_session(tmp_path: Path) -> None:
    """Bokeh keeps the document for a while without a socket; it knows that the session is over."""
    (tmp_path / "app.py").write_text(TICKS, encoding="utf-8")
    with serving(tmp_path, "app.py") as server:
        visitor = await ada(server)
        connection = await visitor.socket()
        await asyncio.to_thread(server.wait_for, "tick False ada None")
        async with SessionManager(url_of(tmp_path)) as manager:
            (session,) = await manager.sessions_of("ada")
            assert session.handle is not None
            await manager.update(session.handle, lambda copy: copy.increment("clicks"))
        await asyncio.to_thread(server.wait_for, "tick False ada 1")
        assert (await visitor.send("/logout")).code == 303
        assert (await until_closed(connection))[1] == 4401
        await asyncio.to_thread(server.wait_for, "tick True None None")


@pytest.mark.gen_test
async def test_messages_count_as_use_unless_told_otherwise(tmp_path: Path) -> None:
    manager_of = "SessionManager(url, touch_interval=timedelta(microseconds=1))"
    for is_use in (True, False):
        auth = auth_with(manager_of, f"messages_keep_alive={is_use}, ")
        with serving(tmp_path, str(EXAMPLE / "app.py"), auth=auth) as server:
            async with SessionManager(url_of(tmp_path)) as manager:
                visitor = await ada(server)
                connection = await visitor.socket()
                assert await connection.read_message()  # of the ACK; Bokeh listens from now on
                (session,) = await manager.sessions_of("ada")
                before = session.accessed_at
                for part in ('{"msgid":"1","msgtype":"PULL-DOC-REQ"}', "{}", "{}"):
                    await connection.write_message(part)
                while True:  # until the reply
                    message = await connection.read_message()
                    assert message is not None
                    if "PULL-DOC-REPLY" in str(message):
                        break
                assert session.handle is not None
                if is_use:
                    while session.accessed_at == before:
                        (session,) = await manager.sessions_of("ada")
                else:
                    (session,) = await manager.sessions_of("ada")
                    assert session.accessed_at == before
                await close(connection)
                await manager.revoke_user("ada")


@pytest.mark.gen_test
async def test_below_a_prefix(tmp_path: Path) -> None:
    with serving(tmp_path, str(EXAMPLE / "app.py"), "--prefix", "/plots") as server:
        visitor = Visitor(server)
        anonymous = await visitor.ask("/plots/app")
        assert anonymous.headers["Location"] == "../plots/login?next=%2Fplots%2Fapp"
        form = {"username": "ada", "password": "lovelace"}
        answer = await visitor.send("/plots/login", **form, next="/plots/app")
        assert answer.headers["Location"] == "../plots/app"
        token = await visitor.token("/plots/app")
        await close(await visitor.socket(token, "/plots/app/ws"))
        assert (await visitor.send("/plots/logout")).headers["Location"] == "../plots/login"


@pytest.mark.gen_test
async def test_what_is_under_way_is_stored_when_the_server_stops(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(STOPS_ITSELF, encoding="utf-8")
    with serving(tmp_path, "slow.py") as server:
        visitor = await ada(server)
        with suppress(OSError, HTTPClientError):  # the server ends while it answers
            await visitor.ask("/slow")
        assert await asyncio.to_thread(server.process.wait, 20) == 0
        assert "Traceback" not in server.text
    async with SessionManager(url_of(tmp_path)) as manager:
        (session,) = await manager.sessions_of("ada")
        assert session["changed"] == 1


STOPS_ITSELF = """
import os, signal
from bokeh.io import curdoc
from hello_tornado.sessions.integrations.bokeh import update_session
os.kill(os.getpid(), signal.SIGTERM)
update_session(curdoc(), lambda session: session.increment("changed"))
"""


@pytest.mark.gen_test
async def test_while_the_store_is_down_the_answer_is_a_503(tmp_path: Path) -> None:
    auth = auth_with(f"'redis://127.0.0.1:{free_port()}/0'")
    with serving(tmp_path, str(EXAMPLE / "app.py"), auth=auth) as server:
        visitor = await signed_visitor(server)
        for path in ("/app", "/login", "/logout"):
            assert (await visitor.ask(path)).code == 503
        with pytest.raises(HTTPClientError, match="503"):
            await visitor.socket("token")


async def signed_visitor(server: Server) -> Visitor:
    """With a cookie that only the store could refuse."""
    async with SessionManager("memory://") as manager:
        app = Application(cookie_secret=SECRET, session_manager=manager)
        headers = await session_headers(app, "ada")
    visitor = Visitor(server)
    visitor.cookies["session"] = headers["Cookie"].partition("=")[2]
    return visitor


@pytest.mark.gen_test
async def test_processes_need_a_store_that_they_share(tmp_path: Path) -> None:
    auth = auth_with("'memory://'")
    with serving(tmp_path, str(EXAMPLE / "app.py"), "--num-procs", "2", auth=auth) as server:
        assert (await Visitor(server).ask("/app")).code == 500
        server.wait_for("with --num-procs each process has a memory:// store of its own")


OWN_PAGE = """
<title>Ours</title>{{ message }}
<form method="post">{% raw xsrf_form_html() %}{{ next }} {{ user_id or "" }}</form>
"""


@pytest.mark.gen_test
async def test_own_page_own_paths_and_an_async_check(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(OWN_PAGE, encoding="utf-8")
    more = "template='page.html', login_url='/sign-in', logout_url='/sign/out', "
    auth = auth_with("url", more).replace("def may_log_in", "async def may_log_in")
    arguments = (str(EXAMPLE / "app.py"), "--enable-xsrf-cookies")
    with serving(tmp_path, *arguments, auth=auth) as server:
        visitor = Visitor(server)
        page = await visitor.ask("/sign-in?next=/app")
        assert b"<title>Ours</title>" in page.body
        assert b"/app" in page.body
        wrong = await visitor.send("/sign-in", username="ada", password="<b>")
        assert b"Wrong name or password." in wrong.body
        assert (await visitor.send("/sign-in", username="ada", password="lovelace")).code == 303
        assert b"ada" in (await visitor.ask("/sign/out")).body
        assert (await visitor.send("/sign/out")).headers["Location"] == "../sign-in"
        assert (await visitor.ask("/app")).headers["Location"] == "./sign-in?next=%2Fapp"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"may_log_in": "ada"}, "may_log_in"),
        ({"may_log_in": lambda name: name}, "may_log_in"),
        ({"login_url": "login"}, "login_url"),
        ({"logout_url": "//x"}, "logout_url"),
        ({"template": "nowhere.html"}, "template='nowhere.html': there is no such file"),
        ({"messages_keep_alive": 1}, "messages_keep_alive"),
        ({"cookie_secret": "short"}, "cookie_secret"),
    ],
)
def test_arguments_that_cannot_work_are_refused(wrong: dict[str, Any], message: str) -> None:
    right = {"cookie_secret": SECRET, "may_log_in": lambda _name, _password: None}
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        BokehSessions("memory://", **(right | wrong))


def test_nothing_is_opened_before_the_first_request(tmp_path: Path) -> None:
    """Bokeh loads the auth module before it forks its processes."""
    before = threading.active_count()
    BokehSessions(url_of(tmp_path), cookie_secret=SECRET, may_log_in=lambda _name, _password: None)
    assert threading.active_count() == before
    assert [*tmp_path.iterdir()] == []


def test_a_browser_needs_a_cookie() -> None:
    with pytest.raises(ConfigurationError, match="that is a CookiePolicy"):
        BokehSessions(
            SessionManager("memory://", cookie=TokenPolicy()),
            cookie_secret=SECRET,
            may_log_in=lambda _name, _password: None,
        )


def test_the_page_has_the_programs_that_are_tested() -> None:
    page = (EXAMPLE.parent.parent / "docs/bokeh-and-panel.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names = ("auth.py", "app.py", "panel_app.py")
    assert shown == [(EXAMPLE / name).read_text(encoding="utf-8") for name in names]


def test_a_document_of_another_kind_has_no_session() -> None:
    with pytest.raises(SessionNotLoaded, match="--auth-module"):
        session_of(Document())
