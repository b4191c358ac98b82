"""Whether what a store is told and answers could be read or changed on the way to it."""

import os
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, TypeAlias
from urllib.parse import SplitResult, parse_qs, urlsplit

Options: TypeAlias = Mapping[str, Sequence[str]]

REDIS: Final = {"redis", "rediss", "valkey", "valkeys", "unix"}
POSTGRESQL: Final = {"postgres", "postgresql"}
MARIADB: Final = {"mysql", "mariadb"}
YES: Final = {"true", "1", "yes"}
# libpq's and asyncpg's modes that check the certificate; "require" encrypts for anybody.
VERIFYING_MODES: Final = {"verify-ca", "verify-full"}
# MariaDB's options that do not weaken what ssl=true or ssl_ca asks for.
HARMLESS: Final = {"ssl", "ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_cipher"}


def travels_unprotected(url: str) -> bool:
    """Whether a store is asked over a network without TLS, or without checking its certificate.

    A URL says the same thing in several ways. Each host in it must be this machine, or each word
    in it about TLS must ask for a certificate that is checked.
    """
    parts = urlsplit(url)
    kind, _, detail = parts.scheme.partition("+")
    options = {name: [value.lower() for value in values] for name, values in _options(parts)}
    if kind in REDIS:
        if "unix" in (kind, detail):
            return False
        return not (_are_here(_hosts(parts, {})) or _redis_verifies(kind, options))
    if kind in POSTGRESQL:
        return not (_are_here(_postgresql_hosts(parts, options)) or _postgresql_verifies(options))
    if kind in MARIADB:
        is_here = "unix_socket" in options or _are_here(_hosts(parts, options))
        return not (is_here or _mariadb_verifies(options))
    return bool(parts.hostname)


def is_loopback(address: str) -> bool:
    """Whether an address or a name is that of this machine, for this machine only."""
    try:
        return address == "localhost" or ip_address(address).is_loopback
    except ValueError:
        return False


def _options(parts: SplitResult) -> Iterable[tuple[str, list[str]]]:
    return parse_qs(parts.query, keep_blank_values=True).items()


def _hosts(parts: SplitResult, options: Options) -> list[str]:
    """Every host that is named: before the path, several by commas, or in an option."""
    named = [
        parts.netloc.rpartition("@")[2],
        *options.get("host", ()),
        *options.get("hostaddr", ()),
    ]
    return [host for several in named for host in several.split(",") if host]


def _postgresql_hosts(parts: SplitResult, options: Options) -> list[str]:
    if "service" in options:
        return ["?"]  # a file says where that is
    return _hosts(parts, options) or [
        os.environ[name] for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE") if name in os.environ
    ]


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
    asks = bool(said & {"ssl", "ssl_ca", "ssl_capath"})
    return asks and said <= HARMLESS and {*options.get("ssl", ["true"])} <= YES
