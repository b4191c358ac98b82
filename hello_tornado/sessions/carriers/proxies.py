"""How a request came: over https or not, and from whom; also where a proxy is in front."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, TypeAlias

from tornado.httputil import HTTPServerRequest
from tornado.iostream import SSLIOStream

from hello_tornado.sessions import options

Networks: TypeAlias = tuple[IPv4Network | IPv6Network, ...]


def is_https(request: HTTPServerRequest, trusted: Networks | None) -> bool:
    """Whether the client speaks TLS, as far as the *trusted* proxies let us know.

    None: what Tornado says, which with `xheaders=True` believes anybody's header. Otherwise whether
    the connection itself speaks TLS, or one of these addresses and networks says so of its client.
    """
    if trusted is None:
        return request.protocol == "https"
    connection: Any = request.connection
    if isinstance(connection.stream, SSLIOStream):
        return True
    if not trusted or not _is_one_of(connection.context.address, trusted):
        return False
    # The last entry is the one that our own proxy has added; whatever precedes it, anyone may say.
    forwarded = request.headers.get("X-Forwarded-Proto", "").rpartition(",")[2]
    return forwarded.strip().lower() == "https"


def address_of(request: HTTPServerRequest, trusted: Networks | None) -> str:
    """Whose request it is, by the same rules: an address, or "" where there is none."""
    if trusted is None:
        return _shortest(request.remote_ip or "")
    connection: Any = request.connection
    peer = connection.context.address
    address = str(peer[0]) if isinstance(peer, tuple) else ""
    if not trusted or not _is_one_of(peer, trusted):
        return _shortest(address)
    # From the right: what our own proxies have added, up to the first that is none of them.
    for forwarded in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
        if not _is_address(candidate := _without_port(forwarded.strip())):
            break
        address = candidate
        if not _is_one_of((address,), trusted):
            break
    return _shortest(address)


def network(name: str, given: Any) -> IPv4Network | IPv6Network:
    """The check of an option: an address or a network; the first becomes a network of one."""
    try:
        return ip_network(str(given))  # an int would be an address, too
    except ValueError:
        what = "an address or a network without host bits, such as 127.0.0.1 or 10.0.0.0/8"
        options.refuse(name, what, options.shown(given))


def _without_port(text: str) -> str:
    """An address as some proxies write it: 192.0.2.1:49152 or [2001:db8::1]:49152."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, _, port = text.rpartition(":")
    return host if port.isdecimal() and ":" not in host and host else text


def _is_address(text: str) -> bool:
    """Whether *text* is an address as RFC 4291 writes it; 127.1, 0x7f.1 and zones are none."""
    try:
        return "%" not in text and bool(ip_address(text).version)
    except ValueError:
        return False


@lru_cache(maxsize=1024)
def _shortest(address: str) -> str:
    """*address* without a zone, and as IPv4 when it is IPv4 written as IPv6 (::ffff:192.0.2.1)."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def _is_one_of(address: Any, proxies: Networks) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket: its file's mode says who may speak
    peer = ip_address(address[0].partition("%")[0])
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in network for network in proxies)
