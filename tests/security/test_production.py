"""What the server refuses to do where strangers can reach it."""

import hashlib
import os
import stat
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import run_command, running_server

from hello_tornado.config.guessable import weakness_of
from hello_tornado.config.secret import new_secret
from hello_tornado.config.transport_security import travels_unprotected

GOOD = {
    "HELLO_TORNADO_SERVER__MODE": "production",
    "HELLO_TORNADO_SERVER__PROXIES": "127.0.0.1",
    "HELLO_TORNADO_LOGIN__MODE": "open",
    "HELLO_TORNADO_COOKIE_SECRET": new_secret(),
}


def refused(directory: Path, *arguments: str, **environment: str | None) -> list[tuple[str, str]]:
    """The causes and the cures of a command that has to fail."""
    given = {name: value for name, value in (GOOD | environment).items() if value is not None}
    done = run_command(directory, *arguments, **given)
    assert (done.returncode, done.stdout) == (2, ""), done.stdout
    assert GOOD["HELLO_TORNADO_COOKIE_SECRET"] not in done.stderr
    lines = done.stderr.strip().splitlines()
    causes = [line.removeprefix("error: ") for line in lines[::2]]
    cures = [line.removeprefix("cure:  ") for line in lines[1::2]]
    assert lines == [
        part
        for cause, cure in zip(causes, cures, strict=True)
        for part in (f"error: {cause}", f"cure:  {cure}")
    ]
    return list(zip(causes, cures, strict=True))


@pytest.mark.parametrize(
    ("setting", "value", "cause", "cure"),
    [
        ("COOKIE_SECRET", None, "cookie_secret is not set", "secret --write"),
        ("COOKIE_SECRET", "too short", "too weak: 9 characters", "secret --write"),
        ("COOKIE_SECRET", "hush" * 10, "too weak: 40 characters, 3 different", "secret --write"),
        ("COOKIE_SECRET", string.ascii_letters, "sequences or repetitions", "secret --write"),
        ("COOKIE_SECRET", "change this password " * 2, "sequences or repet", "secret --write"),
        ("SERVER__METRICS_TOKEN", "metrics", "metrics_token is too weak", "secret"),
        ("SERVER__PROXIES", None, "no proxy provides TLS", "server.proxies"),
        ("SERVER__PROXIES", "0.0.0.0/0", "names every address", "server.proxies"),
        ("SERVER__PROXIES", "10.0.0.1,::/0", "names every address", "server.proxies"),
        ("SERVER__PROXIES", "0.0.0.0/1,128.0.0.0/1", "names every address", "server.proxies"),
        ("SESSION__SAVE_UNINITIALIZED", "true", "fill the store", "session.save_uninitialized"),
        ("HSTS__PRELOAD", "true", "hsts.preload", "hsts.max_age"),
        ("LOGIN__MODE", None, "anybody can log in", 'login.mode to "password", or to "open"'),
        ("COOKIE__SECURE", "false", "over http, too", "cookie.secure"),
        ("COOKIE__HTTPONLY", "false", "scripts can read", "cookie.httponly"),
        ("STORE__URL", "redis://db.example/0", "without TLS or", "store.allow_plaintext"),
    ],
)
def test_a_danger_stops_the_start(
    tmp_path: Path, setting: str, value: str | None, cause: str, cure: str
) -> None:
    ((told, cured),) = refused(tmp_path, "config", "check", **{f"HELLO_TORNADO_{setting}": value})
    assert cause in told
    assert cure in cured
    assert value is None or "SECRET" not in setting or value not in told


def test_all_dangers_are_told_at_once(tmp_path: Path) -> None:
    none = dict.fromkeys(GOOD, None) | {"HELLO_TORNADO_STORE__URL": "redis://db.example/0"}
    found = refused(tmp_path, "config", "check", "--production", **none)
    assert len(found) == 4
    assert (
        refused(tmp_path, "serve", **none | {"HELLO_TORNADO_SERVER__MODE": "production"}) == found
    )


def test_no_insides_are_shown(tmp_path: Path) -> None:
    done = run_command(tmp_path, "--debug", "serve", "--port", "0", **GOOD)
    assert done.returncode != 0
    assert "listening" not in done.stdout


def test_files_that_others_can_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    path.touch(mode=0o644)
    path.chmod(0o644)
    url = {"HELLO_TORNADO_STORE__URL": "sqlite:///sessions.db"}
    ((cause, cure),) = refused(tmp_path, "serve", "--port", "0", **url)
    assert (cause, cure) == ("sessions.db can be read by others", "chmod 600 sessions.db")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", ["cookie_secret", "sessions.db"])
def test_files_of_another_user_are_refused(tmp_path: Path, name: str) -> None:
    environment: dict[str, str | None] = {"HELLO_TORNADO_STORE__URL": "sqlite:///sessions.db"}
    if name == "cookie_secret":
        environment["HELLO_TORNADO_COOKIE_SECRET"] = None
        environment["HELLO_TORNADO_COOKIE_SECRET_FILE"] = name
    path = tmp_path / name
    path.write_text(new_secret() if name == "cookie_secret" else "")
    path.chmod(0o600)
    os.chown(path, 65_534, -1)
    ((cause, cure),) = refused(tmp_path, "config", "check", **environment)
    assert (cause, cure) == (f"{name} belongs to another user", f"chown 0 {name}")


@given(st.binary(min_size=24, max_size=64))
def test_no_random_secret_is_refused(secret: bytes) -> None:
    drawn = hashlib.sha512(secret).hexdigest()[:40]
    assert weakness_of(drawn) is None
    assert weakness_of(drawn[:12] * 4) is not None


def test_with_all_of_it_in_order_it_serves_and_its_files_are_private(tmp_path: Path) -> None:
    done = run_command(tmp_path, "config", "check", **GOOD)
    assert (done.returncode, done.stdout.strip()) == (0, "the settings are good")
    with running_server(tmp_path, **GOOD) as server:
        status, headers, _ = server.request("POST", "/user/login", {"username": "Ada"})
        assert (status, headers["Set-Cookie"].split("=")[0]) == (303, "session")
    for file in (tmp_path / "var").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_by_name_the_open_store_and_the_open_login_are_allowed(tmp_path: Path) -> None:
    url = {"HELLO_TORNADO_STORE__URL": "redis://db.example/0"}
    named = {"HELLO_TORNADO_STORE__ALLOW_PLAINTEXT": "true"}
    assert run_command(tmp_path, "config", "check", **GOOD, **url, **named).returncode == 0


@pytest.mark.parametrize(
    ("url", "is_plain"),
    [
        ("memory://", False),
        ("sqlite:////srv/sessions.db", False),
        ("postgresql://u:p@localhost/db", False),
        ("postgresql://u:p@127.0.0.1:5432/db", False),
        ("postgresql://u:p@[::1]/db", False),
        ("postgresql:///db", False),
        ("postgresql://u:p@10.0.0.5/db", True),
        ("postgresql://u:p@10.0.0.5/db?sslmode=prefer", True),
        ("postgresql://u:p@10.0.0.5/db?sslmode=verify-full", False),
        ("postgresql+asyncpg://u:p@db.example/db?ssl=verify-full", False),
        ("postgresql://u:p@db.example/db?sslmode=verify-full&create=false", False),
        ("postgresql://u:p@db.example/db?create=false", True),
        ("mariadb://u:p@db.example/db?ssl=true&create=false&timeout=2", False),
        ("mariadb://u:p@localhost/db?create=false", False),
        ("postgresql+asyncpg://u:p@db.example/db?ssl=require", True),
        ("postgresql://u:p@10.0.0.5/db?sslmode=require", True),
        ("postgresql://u:p@10.0.0.5/db?sslmode=disable&ssl_ca=/ca.pem", True),
        ("postgresql://u:p@10.0.0.5/db?sslmode=disable&sslmode=verify-full", True),
        ("postgresql://u:p@/db?host=10.0.0.5", True),
        ("postgresql://u:p@/db?host=/run/postgresql", False),
        ("postgresql://u:p@localhost/db?host=10.0.0.5", True),
        ("postgresql://u:p@localhost/db?hostaddr=10.0.0.5", True),
        ("postgresql:///db?hostaddr=10.0.0.5&host=localhost", True),
        ("postgresql:///db?host=localhost,10.0.0.5", True),
        ("postgresql:///db?service=elsewhere", True),
        ("postgresql://u:p@/db?host=10.0.0.5&sslmode=verify-ca", False),
        ("mariadb://u:p@db.example/db?ssl_ca=/ca.pem&ssl_check_hostname=false", True),
        ("mariadb://u:p@db.example/db?ssl=true&ssl_disabled=true", True),
        ("mariadb://u:p@db.example/db?ssl=false&ssl_ca=/ca.pem", True),
        ("mariadb://u:p@db.example/db?ssl_cert=/c.pem", True),
        ("mariadb://u:p@localhost/db?host=db.example", True),
        ("mariadb://u:p@db.example/db?unix_socket=/run/mysqld.sock", False),
        ("rediss://db.example/0?ssl_cert_reqs=none", True),
        ("rediss://db.example/0?ssl_cert_reqs=optional", True),
        ("rediss://db.example/0?ssl_check_hostname=false", True),
        ("rediss://db.example/0?ssl_ca_certs=/ca.pem", False),
        ("mariadb://u:p%40@db.example/db", True),
        ("mariadb://u:p@db.example/db?ssl=true", False),
        ("mysql://u:p@db.example/db?ssl_ca=/ca.pem", False),
        ("redis://db.example/0", True),
        ("rediss://db.example/0", False),
        ("redis+unix:///run/redis.sock", False),
        ("unix:///run/redis.sock", False),
        ("redis+cluster://127.0.0.1:1,10.0.0.5:2", True),
        ("rediss+cluster://10.0.0.5:1", False),
        # Their nodes and masters may be anywhere.
        ("redis+cluster://127.0.0.1:1", True),
        ("redis+sentinel://127.0.0.1:1/sessions", True),
        ("rediss+sentinel://10.0.0.5:1/sessions", False),
        ("rediss+sentinel://10.0.0.5:1/sessions?ssl_cert_reqs=none", True),
        # An option without a value asks for nothing.
        ("mariadb://u:p@db.example/db?ssl_ca=", True),
        ("mariadb://u:p@db.example/db?ssl_ca=/ca.pem&ssl_ca=", True),
        ("mariadb://u:p@db.example/db?ssl_capath=", True),
        ("mariadb://u:p@db.example/db?unix_socket=", True),
        ("postgresql://u:p@db.example/db?sslmode=", True),
        ("postgresql://u:p@db.example/db?host=", True),
        # What leads elsewhere, or may.
        ("postgresql:///db?conninfo=host%3Ddb.example", True),
        ("postgresql://u:p@localhost/db?conninfo=host%3Ddb.example", True),
        ("postgresql+asyncpg://u:p@localhost/db?dsn=postgresql://db.example/db", True),
        ("postgresql://u:p@db.example/db?sslmode=verify-full&service=elsewhere", True),
        ("postgresql://u:p@localhost/db?sslkeylogfile=/tmp/keys", True),
        ("mariadb://u:p@localhost/db?read_default_file=/etc/elsewhere.cnf", True),
        ("mariadb://u:p@localhost/db?read_default_group=elsewhere", True),
        ("mariadb://u:p@db.example/db?ssl=true&read_default_file=/etc/elsewhere.cnf", True),
        # What leads nowhere.
        ("postgresql://u:p@localhost/db?application_name=lab&connect_timeout=3&timeout=2", False),
        ("postgresql+asyncpg://localhost/db?prepared_statement_cache_size=0", False),
        ("mariadb://u:p@localhost/db?charset=utf8mb4&timeout=2", False),
        ("mariadb://u:p@db.example/db?ssl_ca=/ca.pem&ssl_cert=/c.pem&ssl_key=/k.pem", False),
    ],
)
def test_what_travels_in_the_clear(url: str, is_plain: bool) -> None:
    assert travels_unprotected(url) is is_plain


@pytest.mark.parametrize(
    ("url", "variable", "is_plain"),
    [
        ("postgresql:///db", "PGHOST", True),
        ("postgresql:///db", "PGHOSTADDR", True),
        ("postgresql:///db", "PGSERVICE", True),
        ("postgresql://localhost/db", "PGHOST", False),
        ("postgresql://localhost/db", "PGHOSTADDR", True),
        ("postgresql://localhost/db", "PGSERVICE", True),
        ("postgresql://localhost/db?hostaddr=127.0.0.1", "PGHOSTADDR", False),
        ("postgresql://db.example/db?sslmode=verify-full", "PGHOSTADDR", False),
    ],
)
def test_the_environment_may_lead_a_postgresql_url_elsewhere(
    url: str, variable: str, is_plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "10.0.0.5")
    assert travels_unprotected(url) is is_plain


@pytest.mark.parametrize(
    ("max_age", "subdomains", "is_good"),
    [("365d", "true", True), ("364d", "true", False), ("365d", "false", False)],
)
def test_preload_asks_for_what_the_lists_take(
    tmp_path: Path, max_age: str, subdomains: str, is_good: bool
) -> None:
    hsts = {
        "HELLO_TORNADO_HSTS__PRELOAD": "true",
        "HELLO_TORNADO_HSTS__MAX_AGE": max_age,
        "HELLO_TORNADO_HSTS__INCLUDE_SUBDOMAINS": subdomains,
    }
    done = run_command(tmp_path, "config", "check", **GOOD, **hsts)
    assert (done.returncode == 0) is is_good, done.stderr
