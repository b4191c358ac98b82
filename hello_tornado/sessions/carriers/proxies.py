"""The scheme and the client address of a request, also behind proxies."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

from tornado.httputil import HTTPServerRequest
from tornado.iostream import SSLIOStream

from hello_tornado.sessions import options

Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]


def is_https(request: HTTPServerRequest, trusted: Networks | None) -> bool:
    """Whether the client uses TLS.

    With None for *trusted*, Tornado decides; with `xheaders=True` it trusts headers from any
    client. Otherwise return whether the connection itself uses TLS, or a proxy with one of these
    addresses says so.
    """
    if trusted is None:
        return request.protocol == "https"
    connection: Any = request.connection
    if isinstance(connection.stream, SSLIOStream):
        return True
    if not trusted or not _is_one_of(connection.context.address, trusted):
        return False
    # The trusted proxy has added the last entry. Clients can send any entries before it.
    forwarded = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2]
    return forwarded.strip().lower() == "https"


def address_of(request: HTTPServerRequest, trusted: Networks | None) -> str:
    """Return the client's address by the rules of `is_https`; "" if there is none."""
    if trusted is None:
        return _shortest(request.remote_ip or "")
    connection: Any = request.connection
    peer = connection.context.address
    address = str(peer[0]) if isinstance(peer, tuple) else ""
    if not trusted or not _is_one_of(peer, trusted):
        return _shortest(address)
    # From the right: the entries that trusted proxies have added, up to the first other address.
    for forwarded in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
        if not _is_address(candidate := _without_port(forwarded.strip())):
            break
        address = candidate
        if not _is_one_of((address,), trusted):
            break
    return _shortest(address)


def network(name: str, given: Any) -> IPv4Network | IPv6Network:
    """Check an option that is an address or a network; return it as a network."""
    try:
        return ip_network(str(given))  # ip_network() would accept an int
    except ValueError:
        what = "an address or a network without host bits, such as 127.0.0.1 or 10.0.0.0/8"
        options.refuse(name, what, options.shown(given))


def _without_port(text: str) -> str:
    """Remove the port that some proxies add: 192.0.2.1:49152 or [2001:db8::1]:49152."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, _, port = text.rpartition(":")
    return host if port.isdecimal() and ":" not in host and host else text


def _is_address(text: str) -> bool:
    """Whether *text* is an address in the form of RFC 4291; 127.1, 0x7f.1 and zones are not."""
    try:
        return "%" not in text and bool(ip_address(text).version)
    except ValueError:
        return False


@lru_cache(maxsize=1024)
def _shortest(address: str) -> str:
    """Return *address* without a zone, and an IPv4-mapped one (::ffff:192.0.2.1) as IPv4."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _is_one_of(address: Any, proxies: Networks) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket; the mode of its file controls access
    peer = ip_address(address[0].partition("%")[0])
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in network for network in proxies)
