"""Refuses settings that are dangerous on a server which strangers can reach."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from hello_tornado.config.guessable import weakness_of
from hello_tornado.config.secret import (
    belongs_to_somebody_else,
    cookie_secret,
    is_production,
)
from hello_tornado.config.settings import Loaded, Settings
from hello_tornado.config.transport_security import is_loopback, travels_unprotected
from hello_tornado.problem import Problem, Problems
from hello_tornado.sessions.errors import ConfigurationError

Check = Callable[[], object]
YEAR: Final = timedelta(days=365)


def refuse_what_is_dangerous(loaded: Loaded, *, is_debugging: bool = False) -> None:
    """Raise `Problems` with everything that is dangerous in the settings.

    In development this is only an open login that other machines can reach. *is_debugging* says
    whether --debug was given.
    """
    problems: list[Problem] = []
    if is_production(loaded.settings):
        problems += collected([lambda: cookie_secret(loaded.settings)])
        problems += dangers(loaded, is_debugging=is_debugging)
    else:
        problems += open_to_strangers(loaded)
    if problems:
        raise Problems(problems)


def collected(checks: list[Check]) -> list[Problem]:
    """Run the checks and return the problems that they raise."""
    problems = []
    for check in checks:
        try:
            check()
        except Problem as problem:
            problems.append(problem)
        except ConfigurationError as error:
            problems.append(
                Problem(str(error), "see every setting: python -m hello_tornado config init FILE")
            )
    return problems


def dangers(loaded: Loaded, *, is_debugging: bool = False) -> Iterator[Problem]:
    """Yield what is wrong with the settings when strangers can reach the server."""
    settings = loaded.settings
    if is_debugging:
        yield Problem("--debug shows internals of the program", "run it without --debug")
    yield from _proxies(settings)
    yield from _visitors(settings)
    yield from _open_login(loaded)
    if any(map(travels_unprotected, _urls(settings))) and not settings.store.allow_plaintext:
        yield Problem(
            "sessions or accounts are sent to the store without TLS or without a check of its "
            "certificate, or an option of the URL may name another server",
            "use sslmode=verify-full (PostgreSQL), ssl=true (MariaDB) or rediss:// (Redis) in the "
            "URL, without options such as service, or set store.allow_plaintext to true",
        )
    if settings.server.metrics_token is not None:
        token = settings.server.metrics_token.get_secret_value()
        if (weakness := weakness_of(token)) is not None:
            yield Problem(
                f"server.metrics_token is too weak: {weakness}",
                "make one with: python -m hello_tornado secret",
            )
    yield from _files_of_others(settings)


def _urls(settings: Settings) -> Iterator[str]:
    """Yield the URLs of the store, of the store that is moved from, and of the accounts."""
    store = settings.store
    for url in (store.url, store.moving_from, settings.login.accounts_url):
        if url is not None:
            yield url


def _proxies(settings: Settings) -> Iterator[Problem]:
    if not settings.server.proxies:
        yield Problem(
            "no proxy provides TLS for this server: cookies and passwords could be intercepted",
            "put a proxy with TLS in front of it, and name its address in server.proxies",
        )
    if _name_everybody(settings.server.proxies):
        yield Problem(
            "server.proxies names every address: any client could forge its address and protocol",
            "name only the addresses of your own proxies in server.proxies, such as 10.0.0.0/8",
        )


def _visitors(settings: Settings) -> Iterator[Problem]:
    if settings.cookie.secure is False:
        yield Problem("browsers send the cookie over http, too", "set cookie.secure to auto")
    if not settings.cookie.httponly:
        yield Problem("scripts can read the cookie", "set cookie.httponly to true")
    if settings.session.save_uninitialized:
        yield Problem(
            "a session is stored for each request without a cookie: anybody could fill the store",
            "set session.save_uninitialized to false",
        )
    hsts = settings.hsts
    if hsts.preload and not (hsts.include_subdomains and (hsts.max_age or timedelta(0)) >= YEAR):
        yield Problem(
            "browsers do not accept hsts.preload with these settings",
            "set hsts.max_age to 365 days or more and hsts.include_subdomains to true, or "
            "hsts.preload to false",
        )


def _name_everybody(proxies: Iterable[str]) -> bool:
    named = [ip_network(proxy) for proxy in proxies]
    four = [one for one in named if isinstance(one, IPv4Network)]
    six = [one for one in named if isinstance(one, IPv6Network)]
    lengths = [one.prefixlen for one in collapse_addresses(four)]
    return 0 in lengths + [one.prefixlen for one in collapse_addresses(six)]


def open_to_strangers(loaded: Loaded) -> Iterator[Problem]:
    """Yield what is wrong even in development if other machines can reach the server."""
    if not is_loopback(loaded.settings.server.host):
        yield from _open_login(loaded)


def _open_login(loaded: Loaded) -> Iterator[Problem]:
    if loaded.settings.login.mode == "open" and "login.mode" not in loaded.origins:
        yield Problem(
            "anybody can log in under any name, without a password",
            'set login.mode to "password", or to "open" if that is intended',
        )


def _files_of_others(settings: Settings) -> Iterator[Problem]:
    for url in _urls(settings):
        if not url.startswith("sqlite"):
            continue
        path = Path(urlsplit(url).path.removeprefix("/"))
        if not path.exists():
            continue
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Problem(f"{path} can be read by others", f"chmod 600 {path}")
        if belongs_to_somebody_else(path):
            yield Problem(f"{path} belongs to another user", f"chown {os.geteuid()} {path}")
