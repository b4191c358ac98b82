"""What would be dangerous where strangers can reach the server: all at once, with the cures."""

import re
import stat
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from hello_tornado.problem import Problem, Problems
from hello_tornado.secret import cookie_secret, is_production
from hello_tornado.sessions.errors import ConfigurationError
from hello_tornado.settings import Loaded, Settings

Check = Callable[[], object]

LOCAL_KINDS = {"memory", "sqlite", "unix"}
TLS_KINDS = {"rediss", "valkeys"}
TLS_OPTIONS = re.compile(r"true|1|yes|require|verify-ca|verify-full")


def refuse_what_is_dangerous(loaded: Loaded, *, is_debugging: bool = False) -> None:
    """In production, raise `Problems` unless nothing stands against it."""
    if not is_production(loaded.settings):
        return
    problems = collected([lambda: cookie_secret(loaded.settings)])
    problems += dangers(loaded, is_debugging=is_debugging)
    if problems:
        raise Problems(problems)


def collected(checks: list[Check]) -> list[Problem]:
    """What each of these checks complains of."""
    problems = []
    for check in checks:
        try:
            check()
        except Problem as problem:
            problems.append(problem)
        except ConfigurationError as error:
            problems.append(Problem(str(error), "settings.yaml documents every setting"))
    return problems


def dangers(loaded: Loaded, *, is_debugging: bool = False) -> Iterator[Problem]:
    """What is wrong with the settings where strangers can reach the server."""
    settings = loaded.settings
    if is_debugging:
        yield Problem("--debug shows the inside of the program", "run it without --debug")
    if not settings.server.proxies:
        yield Problem(
            "nobody speaks TLS for this server: cookies and passwords could be read on the way",
            "put a proxy that does in front, and name its address in server.proxies",
        )
    if settings.cookie.secure is False:
        yield Problem("browsers send the cookie over http, too", "set cookie.secure to auto")
    if not settings.cookie.http_only:
        yield Problem("scripts can read the cookie", "set cookie.http_only to true")
    if settings.login.mode == "open" and "login.mode" not in loaded.origins:
        yield Problem(
            "anybody can log in under any name", 'set login.mode to "open" if that is meant to be'
        )
    if travels_in_the_clear(settings.store.url) and not settings.store.allow_plaintext:
        yield Problem(
            "sessions travel to the store without TLS",
            "use its TLS (see docs/stores.md), or set store.allow_plaintext to true",
        )
    yield from _files_of_others(settings)


def travels_in_the_clear(url: str) -> bool:
    """Whether a store is asked over a network, without TLS."""
    parts = urlsplit(url)
    kind, _, detail = parts.scheme.partition("+")
    if kind in LOCAL_KINDS | TLS_KINDS or detail == "unix":
        return False
    options = {name: values[-1].lower() for name, values in parse_qs(parts.query).items()}
    if TLS_OPTIONS.fullmatch(options.get("sslmode", options.get("ssl", ""))) or "ssl_ca" in options:
        return False
    hosts = parts.netloc.rpartition("@")[2].split(",")
    return not all(map(_is_here, hosts))


def _is_here(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname
    try:
        return name in {None, "localhost"} or ip_address(str(name)).is_loopback
    except ValueError:
        return False


def _files_of_others(settings: Settings) -> Iterator[Problem]:
    if settings.store.url.startswith("sqlite"):
        path = Path(urlsplit(settings.store.url).path.removeprefix("/"))
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Problem(f"{path} can be read by others", f"chmod 600 {path}")
