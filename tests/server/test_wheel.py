"""The wheel, in clean environments: alone, and with the server."""

import http.client
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from urllib.parse import urlencode

import pytest
from running import clean_environment

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.timeout(400)

LIBRARY = """
import asyncio
from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application, RequestHandler
from hello_tornado.sessions import SessionManager, SessionMixin, open_store
from hello_tornado.sessions.errors import ConfigurationError

class Home(SessionMixin, RequestHandler):
    def get(self):
        self.write(f"Visit {self.session.increment('visits')}")

async def main():
    manager = SessionManager(open_store("memory://"))
    server = Application([("/", Home)], cookie_secret="x" * 40, session_manager=manager).listen(
        0, "127.0.0.1")
    port = next(iter(server._sockets.values())).getsockname()[1]
    print((await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/")).body.decode())
    try:
        open_store("sqlite:///x.db")
    except ConfigurationError as error:
        print(error)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(directory), str(ROOT)], check=True)
    (built,) = directory.glob("*.whl")
    return built


def installed(directory: Path, requirement: str) -> Path:
    """A new environment with *requirement*; returns its Python."""
    venv.create(directory, with_pip=True)
    python = directory / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", requirement], check=True)
    return python


def run(python: Path, directory: Path, *arguments: str) -> str:
    """What a command prints; it has to succeed."""
    return subprocess.run(
        [python, *arguments],
        cwd=directory,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_it_holds_the_package_the_migrations_and_the_templates(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "hello_tornado/py.typed",
        "hello_tornado/migrations/env.py",
        "hello_tornado/migrations/versions/0001_sessions.py",
        "hello_tornado/templates/base.html",
        "hello_tornado/templates/static/style.css",
    } <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"hello_tornado"}


def test_alone_it_needs_only_tornado_and_names_the_extra_for_more(
    wheel: Path, tmp_path: Path
) -> None:
    python = installed(tmp_path / "venv", str(wheel))
    printed = run(python, tmp_path, "-c", LIBRARY)
    assert printed.startswith("Visit 1\n")
    assert "sqlite:// needs the package sqlalchemy; " in printed
    assert "pip install 'hello-tornado[sql]'" in printed


def test_with_the_server_it_upgrades_serves_and_purges(wheel: Path, tmp_path: Path) -> None:
    python = installed(tmp_path / "venv", f"{wheel}[server]")
    assert "the schema is 0001" in run(python, tmp_path, "-m", "hello_tornado", "db", "upgrade")
    with subprocess.Popen(
        [python, "-m", "hello_tornado", "serve", "--port", "0"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdout is not None
        port = next(
            int(found[1]) for line in server.stdout if (found := re.search(r"1:(\d+)/", line))
        )
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/user/login", urlencode({"username": "Ada"}), form)
        answer = connection.getresponse()
        answer.read()
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        connection.request("GET", "/", headers={"Cookie": cookie})
        page = connection.getresponse().read().decode()
        assert "Hello Ada" in page
        style = re.search(r'href="(/static/style.css[^"]*)"', page)
        assert style is not None
        connection.request("GET", style[1])
        assert (
            connection.getresponse()
            .read()
            .startswith((ROOT / "templates/static/style.css").read_bytes()[:50])
        )
        connection.close()
        server.terminate()
        server.stdout.read()
        assert server.wait(20) == 0
    assert "0 expired sessions deleted" in run(python, tmp_path, "-m", "hello_tornado", "purge")
