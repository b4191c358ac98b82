"""Checks whether data could be read or changed on the network between the server and a store."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, TypeAlias
from urllib.parse import SplitResult, parse_qs, urlsplit

from hello_tornado.sessions.stores.schemes import family_of

Options: TypeAlias = Mapping[str, Sequence[str]]

YES: Final = {"true", "1", "yes"}
# The modes of libpq and asyncpg that check the certificate; "require" only encrypts.
VERIFYING_MODES: Final = {"verify-ca", "verify-full"}
# MariaDB's options that do not weaken the checks that ssl=true or ssl_ca asks for.
HARMLESS: Final = {"ssl", "ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_cipher"}
# Options that cannot name another server. Others can: a file, a service, a connection string.
OF_POSTGRESQL: Final = re.compile(
    r"create|table|schema|host|hostaddr|port|user|password|passfile|dbname|options|client_encoding|autocommit"
    r"|(connect_|command_|tcp_user_)?timeout|(fallback_)?application_name|keepalives(_\w+)?"
    r"|target_session_attrs|load_balance_hosts|channel_binding|require_auth|gssencmode"
    r"|\w+_(cache_size|statement_lifetime|threshold)|direct_tls|ssl_m(in|ax)_protocol_version"
    r"|ssl(mode|negotiation|cert|key|password|rootcert|crl|crldir|sni)?"
)
OF_MARIADB: Final = re.compile(
    r"create|table|schema|host|port|user|password|((connect|read|write)_)?timeout|charset|collation|use_unicode"
    r"|max_allowed_packet|program_name|unix_socket|ssl(_ca|_capath|_cert|_key|_cipher)?"
)


def travels_unprotected(url: str) -> bool:
    """Whether a store is used over a network without TLS, or without checking its certificate.

    A URL can say the same thing in several ways. It is protected if all hosts in it are this
    machine, or if all its options about TLS ask for a certificate that is checked. A URL that
    cannot be judged counts as unprotected: sentinels and the nodes of a cluster name other
    machines, and so may an option.
    """
    parts = urlsplit(url)
    kind, _, detail = parts.scheme.partition("+")
    options = {name: [value.lower() for value in values] for name, values in _options(parts)}
    family = family_of(url)
    if family == "redis":
        if "unix" in (kind, detail):
            return False
        is_here = not detail and _are_here(_hosts(parts, {}))
        return not (is_here or _redis_verifies(kind, options))
    if family == "postgresql":
        is_here = _are_here(_postgresql_hosts(parts, options))
        is_safe = is_here or _postgresql_verifies(options)
        return not (is_safe and all(map(OF_POSTGRESQL.fullmatch, options)))
    if family == "mariadb":
        is_at_socket = all(path.startswith("/") for path in options.get("unix_socket", [""]))
        is_here = is_at_socket or _are_here(_hosts(parts, options))
        is_safe = is_here or _mariadb_verifies(options)
        return not (is_safe and all(map(OF_MARIADB.fullmatch, options)))
    return bool(parts.hostname)


def is_loopback(address: str) -> bool:
    """Whether an address or a host name can be reached from this machine only."""
    try:
        return address == "localhost" or ip_address(address).is_loopback
    except ValueError:
        return False


def _options(parts: SplitResult) -> Iterable[tuple[str, list[str]]]:
    return parse_qs(parts.query, keep_blank_values=True).items()


def _hosts(parts: SplitResult, options: Options) -> list[str]:
    """Return all hosts in the URL: those before the path, separated by commas, and in options."""
    named = [
        parts.netloc.rpartition("@")[2],
        *options.get("host", ()),
        *options.get("hostaddr", ()),
    ]
    return [host for several in named for host in several.split(",") if host]


def _postgresql_hosts(parts: SplitResult, options: Options) -> list[str]:
    """Return the hosts that the URL and the environment name; an address overrides a host name."""
    named = _hosts(parts, options)
    if not named:
        named += filter(None, os.environ.get("PGHOST", "").split(","))
    if "hostaddr" not in options:
        named += filter(None, os.environ.get("PGHOSTADDR", "").split(","))
    return ["?"] if "PGSERVICE" in os.environ else named  # a file names the host of a service


def _are_here(hosts: Iterable[str]) -> bool:
    return all(map(_is_here, hosts))


def _is_here(host: str) -> bool:
    if host.startswith(("/", "@")):  # the directory of a Unix socket, or an abstract one
        return True
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "") or is_loopback(host)
    except ValueError:
        return False


def _redis_verifies(kind: str, options: Options) -> bool:
    reqs = options.get("ssl_cert_reqs", ["required"])
    checks = options.get("ssl_check_hostname", ["true"])
    return kind in {"rediss", "valkeys"} and {*reqs} == {"required"} and {*checks} <= YES


def _postgresql_verifies(options: Options) -> bool:
    modes = {*options.get("sslmode", ()), *options.get("ssl", ())}
    return bool(modes) and modes <= VERIFYING_MODES


def _mariadb_verifies(options: Options) -> bool:
    said = {name for name in options if name.startswith(("ssl", "tls"))}
    asks = any(all(options[name]) for name in said & {"ssl", "ssl_ca", "ssl_capath"})
    return asks and said <= HARMLESS and {*options.get("ssl", ["true"])} <= YES
