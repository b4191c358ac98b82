"""What can be set for sessions in `jupyter server`: passwords, tokens, lifetimes, and mistakes."""

import asyncio
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest
from jupyter_server.auth import passwd
from jupyter_servers import (
    HTML,
    JUPYTER,
    Visitor,
    logged_in,
    run,
    serving,
    started,
    until_closed,
)
from pages import blocks
from running import START_SECONDS, free_port
from traitlets import TraitError
from traitlets.config import Config

from hello_tornado.sessions import SessionManager
from hello_tornado.sessions.integrations.jupyter import SessionIdentityProvider
from hello_tornado.sessions.manager.watcher import Watch
from hello_tornado.sessions.records.lifetimes import MICROSECOND
from hello_tornado.sessions.testing import NOW

NO_NAMES = "\nc.SessionIdentityProvider.may_log_in = None\n"
PASSWORD = f'{NO_NAMES}c.PasswordIdentityProvider.hashed_password = "{passwd("lovelace", "sha1")}"'
TOKEN = "a-token-of-these-tests"
WITH_TOKEN = f'{NO_NAMES}c.IdentityProvider.token = "{TOKEN}"\n'
MANAGER = """
from hello_tornado.sessions import SessionManager
def read_clock():
    with open("clock") as file:
        return int(file.read())
def make():
    return SessionManager("sqlite:///sessions.db", clock=read_clock)
c.SessionIdentityProvider.sessions = make
"""


@pytest.mark.gen_test
async def test_the_password_of_the_server_logs_in_and_ends_all_its_sessions(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, config=PASSWORD) as server:
        one, two = Visitor(server), Visitor(server)
        assert b"username" not in (await one.page("/login")).body
        wrong = await one.send("/login", password="hopper")
        assert (wrong.code, b"Wrong password." in wrong.body) == (401, True)
        for visitor in (one, two):
            assert (await visitor.send("/login", password="lovelace")).code == 302
        names = [await one.me(), await two.me()]
        assert all(name is not None and name.startswith("Anonymous ") for name in names)
        much = await one.api("/api/me", "PATCH", {"display_name": "A" * 100_000})
        assert (much.code, await one.me()) == (413, names[0])
        kept = await one.api("/api/me", "PATCH", {"display_name": "Ada"})
        assert (kept.code, await one.me(), await two.me()) == (200, "Ada", names[1])
        socket = await two.socket("/api/events/subscribe")
        assert (await one.send("/logout", everywhere="1")).code == 303
        assert (await until_closed(socket))[1:] == (4401, "revoked")
        assert (await one.me(), await two.me()) == (None, None)


@pytest.mark.gen_test
async def test_the_token_logs_in_and_opens_nothing_by_itself(tmp_path: Path) -> None:
    """Pages of jupyter have the token in them, so a logout would not end their access."""
    with serving(tmp_path, config=WITH_TOKEN) as server:
        script = Visitor(server)
        header = {"Authorization": f"token {TOKEN}"}
        assert (await script.ask("/api/me", **header)).code == 403
        assert (await script.ask(f"/api/me?token={TOKEN}", **HTML)).code == 403
        assert (await script.ask(f"/files/none?token={TOKEN}")).code == 302  # no visit of a browser
        assert script.session_cookie == ""
        assert (await script.page("/files/none?token=wrong")).code == 302
        person = Visitor(server)
        assert (await person.page(f"/files/none?token={TOKEN}")).code == 404
        assert await person.me() is not None
        assert (await person.send("/logout")).code == 303
        assert await person.me() is None
        other = Visitor(server)
        assert (await other.send("/login", password=TOKEN)).code == 302
        assert await other.me() is not None


@pytest.mark.gen_test
async def test_a_token_needs_no_session_if_the_settings_say_so(tmp_path: Path) -> None:
    config = f"{WITH_TOKEN}c.SessionIdentityProvider.accept_tokens = True\n"
    with serving(tmp_path, config=config) as server:
        script = Visitor(server)
        header = {"Authorization": f"token {TOKEN}"}
        assert (await script.ask("/api/me", **header)).code == 200
        made = await script.ask("/api/terminals", "POST", "{}", **header)  # without an XSRF token
        assert made.code == 200
        refused = await script.ask("/api/me", "PATCH", '{"color": "teal"}', **header)
        assert refused.code == 501  # there is no session to keep it
        assert script.session_cookie == ""
    async with SessionManager(f"sqlite:///{tmp_path}/sessions.db") as manager:
        assert await manager.length() == 0


@pytest.mark.gen_test
async def test_messages_count_as_use_and_an_idle_session_ends_with_its_sockets(
    tmp_path: Path,
) -> None:
    def set_clock(**since: float) -> int:
        moment = NOW + timedelta(**since) // MICROSECOND
        (tmp_path / "clock.new").write_text(str(moment), encoding="utf-8")
        (tmp_path / "clock.new").rename(tmp_path / "clock")
        return moment

    begun = set_clock()
    url = f"sqlite:///{tmp_path}/sessions.db"
    with serving(tmp_path, config=MANAGER) as server:
        visitor = await logged_in(server)
        socket = await visitor.kernel_socket(await visitor.start_kernel())
        set_clock(minutes=50)
        async with SessionManager(url, clock=lambda: begun, purge_every=None) as manager:
            used = asyncio.Event()
            (session,) = await manager.sessions_of("ada")
            assert session.record is not None
            watch = Watch(lambda _record: used.set(), lambda _reason: None)
            manager.watcher.add(session.record, watch)
            assert await run(socket, "print(6 * 7)") == "42\n"
            await used.wait()
        set_clock(minutes=100)  # 50 since the message
        assert await visitor.me() == "ada"
        set_clock(minutes=150)  # 50 since that request
        assert await visitor.me() == "ada"
        set_clock(minutes=211)
        assert (await until_closed(socket))[1:] == (4401, "expired")
        assert b"Your session has expired." in (await visitor.page("/login")).body


@pytest.mark.gen_test
async def test_a_store_that_is_down_is_a_503(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    config = f'\nc.SessionIdentityProvider.sessions = "{url}"\n'
    with serving(tmp_path, config=config) as server:
        visitor = Visitor(server)
        assert (await visitor.log_in()).code == 503
        name = f"session-localhost-{server.port}"
        visitor.cookies[name] = await signed_cookie(tmp_path, name)
        for path in ("/api/me", "/files/a"):
            answer = await visitor.page(path)
            assert answer.code == 503, answer.body
            assert "127.0.0.1" not in answer.body.decode()
        assert "Traceback" not in server.text
        assert "the session store is down" in server.text


async def signed_cookie(directory: Path, name: str) -> str:
    """A cookie with a living session id that the server in *directory* believes to be its own."""
    config = '\nc.SessionIdentityProvider.sessions = "memory://"\n'
    options = f"--IdentityProvider.cookie_name={name}"
    with serving(directory, options, config=config) as server:
        return (await logged_in(server)).cookies[name]


@pytest.mark.gen_test
async def test_a_server_below_a_path_and_behind_a_proxy_with_https(tmp_path: Path) -> None:
    options = ("--ServerApp.base_url=/lab/", "--ServerApp.trust_xheaders=True")
    with serving(tmp_path, *options) as server:
        visitor = Visitor(server)
        page = await visitor.page("/lab/files/a")
        assert page.headers["Location"] == "/lab/login?next=%2Flab%2Ffiles%2Fa"
        login = {"username": "ada", "password": "lovelace"}
        elsewhere = await visitor.send("/lab/login?next=/files/a", **login)
        assert elsewhere.headers["Location"] == "/lab/"
        cookie = elsewhere.headers["Set-Cookie"]
        assert cookie.startswith(f"session-localhost-{server.port}=")
        assert ("; Path=/lab/; " in cookie, "Secure" in cookie) == (True, False)
        assert (await visitor.api("/lab/api/me")).code == 200
        token = visitor.cookies["_xsrf"]
        over_https = await visitor.ask(
            "/lab/login",
            "POST",
            urlencode(login | {"_xsrf": token}),
            **{"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-Proto": "https"},
        )
        assert "; Secure" in over_https.headers["Set-Cookie"]


@pytest.mark.gen_test
async def test_the_settings_and_the_extension_of_the_page(tmp_path: Path) -> None:
    _example, lifetimes, several, extension = blocks("python", "docs/jupyter.md")
    hook = """
def _load_jupyter_server_extension(app):
    app.web_app.add_handlers(".*", [("/visits", Visits), ("/callback", Callback)])
"""
    (tmp_path / "visits_of_the_page.py").write_text(extension + hook, encoding="utf-8")
    before = f"""
import os, sys
sys.path.append({str(tmp_path)!r})
os.environ["SESSION_SECRET"] = "{"s" * 32}"
"""
    config = f"\n{lifetimes}{before}{several}"
    options = "--ServerApp.jpserver_extensions=visits_of_the_page=True"
    with serving(tmp_path, options, config=config) as server:
        visitor = Visitor(server)
        assert (await visitor.page("/visits")).headers["Location"] == "/login?next=%2Fvisits"
        assert (await visitor.page("/callback")).code == 302
        assert (await visitor.me(), visitor.cookies.keys()) == ("ada", {"session"})
        for visit in (b"Visit 1", b"Visit 2"):
            assert (await visitor.page("/visits")).body == visit
    async with SessionManager(f"sqlite:///{tmp_path}/sessions.db") as manager:
        (session,) = await manager.sessions_of("ada")
        assert session.expires_in > timedelta(hours=7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sessions": ""}, "sessions is missing"),
        ({"sessions": "nonsense://"}, "nonsense"),
        ({"sessions": lambda: "sqlite:///a.db"}, "returns a SessionManager"),
        ({"may_log_in": None, "token": ""}, "nobody could log in"),
        ({"may_log_in": "ada"}, "callable"),
        ({"cookie_options": {"samesite": "None"}}, "cookie_options does not apply"),
        ({"get_secure_cookie_kwargs": {"max_age_days": 1}}, "get_secure_cookie_kwargs"),
    ],
)
def test_a_mistake_is_told_at_the_start(settings: dict[str, object], message: str) -> None:
    given = {"sessions": "memory://", "may_log_in": max} | settings
    with pytest.raises(TraitError, match=message):
        SessionIdentityProvider(config=Config(SessionIdentityProvider=given))


def test_the_server_says_what_is_wrong_and_ends(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    text = (
        "c = get_config()\n"
        "c.ServerApp.identity_provider_class = "
        '"hello_tornado.sessions.integrations.jupyter.SessionIdentityProvider"\n'
        'c.SessionIdentityProvider.sessions = "memory://"\n'
        'c.SessionIdentityProvider.cookie_secret = "short"\n'
    )
    path.write_text(text, encoding="utf-8")
    with started(tmp_path, *JUPYTER, f"--config={path}") as server:
        assert server.process.wait(START_SECONDS) == 1
        server.wait_for("Bad config encountered.*at least 16 bytes")
        assert "Traceback" not in server.text
