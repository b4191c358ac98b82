"""The networks in which an address is counted, for limits on what one client may do."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

# A subscriber to IPv6 has a /64, often a /56, and a company or a tunnel a /48 with 65,536 of them.
PREFIXES: Final = (64, 56, 48)
# RFC 6052 and RFC 8215: the last 32 bits of such an address are an IPv4 address.
NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def networks_of(address: str) -> tuple[str, ...]:
    """Return the networks of an IPv6 address, narrowest first, or an IPv4 address by itself.

    An IPv6 address that contains an IPv4 address (IPv4-mapped, NAT64 or 6to4) counts as the IPv4
    address. A text that is not an address, such as the "" of a Unix socket, is returned unchanged.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return (address,)
    found = parsed if isinstance(parsed, IPv4Address) else _embedded(parsed)
    if found is not None:
        return (str(found),)
    return tuple(str(ip_network((int(parsed), prefix), strict=False)) for prefix in PREFIXES)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if any(address in network for network in NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
