"""Ports for servers that must be told theirs before they start."""

import contextlib
import itertools
import os
import socket
from typing import Final

FIRST: Final = 20_000
LAST: Final = 30_000
"""Below the ports that a system hands out by itself, so that no connection and no `port 0` takes one meanwhile."""
_START: Final = FIRST + os.getpid() * 97 % (LAST - FIRST)  # processes begin apart
_candidates = itertools.cycle((*range(_START, LAST), *range(FIRST, _START)))
_claims: list[socket.socket] = []


def claimed_ports(count: int) -> tuple[int, ...]:
    """Loopback ports that nobody listens on, and that no other process of any test run gets before this one ends."""
    return tuple(itertools.islice((port for port in _candidates if _claim(port)), count))


def claimed_port() -> int:
    """One of `claimed_ports`."""
    return claimed_ports(1)[0]


def _claim(port: int) -> bool:
    """Hold the UDP port of that number, as a sign to others, unless it or the TCP port is taken."""
    with contextlib.ExitStack() as undo:
        sign = undo.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        try:
            sign.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        undo.pop_all()
        _claims.append(sign)
    return True
