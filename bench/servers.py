"""The servers that can be measured: this library on a store, and its peers on the same store."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from hello_tornado.database import migrate

HERE = Path(__file__).parent
PEERS = HERE / "peers"
PYTHON = (sys.executable,)
EXPRESS = ("express-session", ("node", str(PEERS / "on_express.js")))
STARSESSIONS = ("starsessions", (*PYTHON, str(PEERS / "on_starlette.py")))
FLASK = ("Flask-Session", (*PYTHON, str(PEERS / "on_flask.py")))
DJANGO = ("Django", (*PYTHON, str(PEERS / "on_django.py")))

PEERS_ON = {
    "memory": [EXPRESS, STARSESSIONS],
    "sqlite": [EXPRESS, FLASK, DJANGO],
    "postgresql": [EXPRESS, DJANGO],
    "redis": [EXPRESS, STARSESSIONS, FLASK],
}
NAMES = {
    "memory": "memory",
    "sqlite": "SQLite",
    "postgresql": "PostgreSQL",
    "mariadb": "MariaDB",
    "redis": "Redis",
}


@dataclass(frozen=True)
class Server:
    """How to start one; the port comes behind the command. Ours counts its round trips."""

    name: str
    store: str
    command: tuple[str, ...]
    is_ours: bool = False


def bare_tornado() -> Server:
    """What all others are compared with."""
    return Server("Tornado", "no sessions", (*PYTHON, str(HERE / "app.py"), "memory://"), True)


def servers_on(url: str, directory: Path, *, with_peers: bool) -> list[Server]:
    """This library on a store, and its peers on the same one; SQLite gives each its own file.

    A driver that the URL names stands for the store, and has no peers.
    """
    scheme, _, driver = url.partition(":")[0].partition("+")
    store = driver or NAMES.get(scheme, scheme)
    ours = ("hello_tornado", (*PYTHON, str(HERE / "app.py")))
    if scheme in {"postgresql", "mariadb"}:
        migrate.upgrade(url)
    servers = []
    for name, command in [ours, *(PEERS_ON.get(scheme, []) if with_peers and not driver else [])]:
        own = f"sqlite:///{directory / name}.db" if url == "sqlite://" else url
        servers.append(Server(name, store, (*command, own), command is ours[1]))
    return servers


def missing(*, with_peers: bool) -> str | None:
    """What has to be installed first, if anything."""
    if shutil.which("wrk") is None:
        return "wrk is missing: install Debian's package wrk"
    if with_peers and not (PEERS / "node_modules").exists():
        return f"the peers are missing: npm install --prefix {PEERS}, pip install -e .[bench]"
    return None
