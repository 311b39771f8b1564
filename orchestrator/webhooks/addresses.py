"""Which addresses a tenant's URL may lead to. Tenants choose the target of a webhook, so it may only reach public
addresses and none in the service's network (SSRF: OWASP's cheat sheet; the ranges: `special_ranges`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from orchestrator.webhooks.special_ranges import Address, is_public

MAX_URL_CHARS: Final = 2_048
MAX_NAME_CHARS: Final = 253  # RFC 1035
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


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
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ForbiddenUrl(f"it cannot be parsed: {error}") from None
        if parts.scheme not in ({"https", "http"} if self.allow_http else {"https"}):
            raise ForbiddenUrl("it must begin with https://")
        if not host:
            raise ForbiddenUrl("it names no host")
        if parts.username is not None or parts.fragment:
            raise ForbiddenUrl("it must hold neither a user name nor a fragment; deliveries are signed instead")
        if port == 0:
            raise ForbiddenUrl("its port must be 1 to 65535")
        self.check_host(host)
        if "[" in parts.netloc and _literal(host) is None:  # RFC 3986 lets brackets hold addresses of the future
            raise ForbiddenUrl("its host in brackets must be an IPv6 address")

    def check_host(self, host: str) -> None:
        """Refuse a host by its syntax: neither a plain DNS name nor an allowed address. IPv6 stands without brackets.

        Raises: ForbiddenUrl.
        """
        if (address := _literal(host)) is not None:
            self.check_address(address)
            return
        if "%" in host:
            raise ForbiddenUrl("its host must not be percent-encoded, nor name a zone")
        if host.endswith("."):
            raise ForbiddenUrl("its host must not end with a dot")
        labels = host.split(".")
        if len(host) > MAX_NAME_CHARS or not all(map(_LABEL.fullmatch, labels)):
            raise ForbiddenUrl("its host must be a DNS name: letters, digits and '-', with dots between (or punycode)")
        if _NUMBER.fullmatch(labels[-1]):  # what the C library reads as an address: octal, hexadecimal, short forms
            raise ForbiddenUrl(
                "its host is a number; write an IPv4 address as four decimal numbers without zeros ahead"
            )
        if len(labels) == 1 and not self.allow_private:
            raise ForbiddenUrl("its host must have a dot: names without one belong to a private network")

    def check_address(self, address: Address) -> None:
        """Refuse what is not on the public internet. Raises: ForbiddenUrl, without naming the address."""
        if not (self.allow_private or is_public(address)):
            raise ForbiddenUrl("its host resolves to an address that is private, local or reserved")

    def checked(self, found: Sequence[str]) -> list[str]:
        """The addresses of a name, once each. One that is forbidden refuses the name: legitimate names do not mix them.

        Raises: ForbiddenUrl.
        """
        addresses = list(dict.fromkeys(found))
        for text in addresses:
            self.check_address(ip_address(text.partition("%")[0]))
        return addresses


def _literal(host: str) -> Address | None:
    try:
        return None if "%" in host else ip_address(host)
    except ValueError:
        return None
