"""Addresses that are no place on the public internet, by a table of our own: what `ipaddress` knows depends on the
version of Python.

Sources
- IANA IPv4 Special-Purpose Address Registry: https://www.iana.org/assignments/iana-ipv4-special-registry
- IANA IPv6 Special-Purpose Address Registry: https://www.iana.org/assignments/iana-ipv6-special-registry
- Multicast: RFC 5771. IPv6 outside 2000::/3 is not allocated as global unicast: RFC 4291, RFC 3513.
- What clouds serve to their own machines under addresses that look public: the vendors' documentation.

All of the registries' blocks are refused, the few "globally reachable" ones (AS112, AMT, anycast of 192.0.0.0/24) too:
no receiver of webhooks is there. IPv6 that carries an IPv4 address of the same machine or behind a translator is judged
by both; obsolete tunnels (6to4, Teredo) are refused.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address

SPECIAL_V4: Final = {
    "0.0.0.0/8": "this network, RFC 791",
    "10.0.0.0/8": "private use, RFC 1918",
    "100.64.0.0/10": "shared address space, RFC 6598; a cloud's metadata among it",
    "127.0.0.0/8": "loopback, RFC 1122",
    "169.254.0.0/16": "link local, RFC 3927; a cloud's metadata among it",
    "172.16.0.0/12": "private use, RFC 1918",
    "192.0.0.0/24": "IETF protocol assignments, RFC 6890; a cloud's metadata among it",
    "192.0.2.0/24": "documentation, RFC 5737",
    "192.31.196.0/24": "AS112, RFC 7535",
    "192.52.193.0/24": "AMT, RFC 7450",
    "192.88.99.0/24": "6to4 relay anycast, RFC 7526",
    "192.168.0.0/16": "private use, RFC 1918",
    "192.175.48.0/24": "direct delegation AS112, RFC 7534",
    "198.18.0.0/15": "benchmarking, RFC 2544",
    "198.51.100.0/24": "documentation, RFC 5737",
    "203.0.113.0/24": "documentation, RFC 5737",
    "224.0.0.0/4": "multicast, RFC 5771",
    "240.0.0.0/4": "reserved and limited broadcast, RFC 1112, RFC 8190",
}
CLOUDS_V4: Final = {
    "161.26.0.0/16": "services of IBM Cloud for its machines",
    "166.8.0.0/14": "private endpoints of IBM Cloud",
    "168.63.129.16/32": "the platform of Azure, as its machines see it",
}
GLOBAL_UNICAST_V6: Final = IPv6Network("2000::/3")
SPECIAL_V6: Final = {
    "2001::/23": "IETF protocol assignments, RFC 2928: Teredo, ORCHID, benchmarking, drones and anycast among them",
    "2001:db8::/32": "documentation, RFC 3849",
    "2002::/16": "6to4, RFC 3056, RFC 7526",
    "2620:4f:8000::/48": "direct delegation AS112, RFC 7534",
    "3fff::/20": "documentation, RFC 9637",
}
"""Within 2000::/3. All outside is refused anyway: loopback, ::/96, 64:ff9b:1::/48, 100::/64, 5f00::/16, fc00::/7,
fe80::/10, fec0::/10, ff00::/8."""
NAT64: Final = IPv6Network("64:ff9b::/96")
"""RFC 6052: a translator connects to the IPv4 address in the last 32 bits."""
ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""RFC 5214: bits 64 to 95 of an address that carries an IPv4 address in the last 32 bits."""

_V4: Final = tuple(map(IPv4Network, (*SPECIAL_V4, *CLOUDS_V4)))
_V6: Final = tuple(map(IPv6Network, SPECIAL_V6))


def is_public(address: Address) -> bool:
    """Whether connecting to the address leads to the public internet, and nowhere else."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _V4)
    low = IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.ipv4_mapped is not None or address in NAT64:
        return is_public(low)
    if address not in GLOBAL_UNICAST_V6 or any(address in network for network in _V6):
        return False
    return (int(address) >> 32) & 0xFFFF_FFFF not in ISATAP or is_public(low)
