"""Which addresses a tenant's URL may resolve to. Tenants choose the target of a webhook, so it may only reach public
addresses and none in the service's network (SSRF: OWASP's cheat sheet, RFC 6890 for the ranges).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> addresses as text. Raises OSError."""

MAX_URL_CHARS: Final = 2_048
_NAT64: Final = IPv6Network("64:ff9b::/96")


class ForbiddenUrl(ValueError):
    """The URL is not an allowed target."""


@dataclass(frozen=True)
class EgressPolicy:
    """What webhooks of an installation may reach. The defaults suit a service on the internet."""

    allow_http: bool = False
    allow_private: bool = False

    def check_url(self, url: str) -> None:
        """Refuse a URL by its syntax; names are resolved when a delivery is sent. Raises: ForbiddenUrl."""
        if len(url) > MAX_URL_CHARS:
            raise ForbiddenUrl(f"it has {len(url)} characters; at most {MAX_URL_CHARS} are allowed")
        if not url.isascii() or not url.isprintable() or any(c in url for c in " \\"):
            raise ForbiddenUrl("it holds a character that must be percent-encoded (a host: in punycode)")
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise ForbiddenUrl(f"it cannot be parsed: {error}") from None
        if parts.scheme not in ({"https", "http"} if self.allow_http else {"https"}):
            raise ForbiddenUrl("it must begin with https://")
        if not host:
            raise ForbiddenUrl("it names no host")
        if parts.username is not None or parts.fragment:
            raise ForbiddenUrl("it must hold neither a user name nor a fragment; deliveries are signed instead")
        if (address := _literal(host)) is not None:
            self.check_address(address)

    def check_address(self, address: Address) -> None:
        """Refuse what is not on the public internet. Raises: ForbiddenUrl, without naming the address."""
        if not (self.allow_private or all(map(_is_public, _meant_by(address)))):
            raise ForbiddenUrl("its host resolves to an address that is private, local or reserved")

    async def addresses(self, host: str, port: int, resolve: Resolve) -> list[str]:
        """The checked addresses of `host`. One forbidden address refuses the name: legitimate names do not mix them.

        Raises: ForbiddenUrl; OSError when the name cannot be resolved.
        """
        found = list(dict.fromkeys(await resolve(host, port)))
        if not found:
            raise OSError("the name has no address")
        for text in found:
            self.check_address(ip_address(text.partition("%")[0]))
        return found


async def resolve_by_system(host: str, port: int) -> list[str]:
    """The system's resolver, off the event loop."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in infos]


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_public(address: Address) -> bool:
    odd = address.is_multicast or address.is_reserved or (isinstance(address, IPv6Address) and address.is_site_local)
    return address.is_global and not odd


def _meant_by(address: Address) -> list[Address]:
    """The address and any IPv4 address wrapped in it, which a router or the kernel may unwrap."""
    if isinstance(address, IPv4Address):
        return [address]
    if (mapped := address.ipv4_mapped) is not None:
        return [mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    wrapped = [address.sixtofour, *(address.teredo or ())]
    return [address, *(inner for inner in wrapped if inner is not None)]
