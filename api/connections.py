"""Bounds on connections: how many there are, and how long one may wait for its client.

uvicorn waits for ever for the rest of a request's head or body and for a client that stops reading, and takes
connections until the process has no descriptors. Here a request's head has a time-out from its first byte, its body
must keep coming, a response must keep being read, and when all connections are taken, the one that has waited for its
client the longest makes room. Nothing here ends a connection that waits for the server.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from time import monotonic
from typing import Final

from api.errors import INVALID_REQUEST, SERVER_ERROR, ErrorBody, ErrorDetail

MAX_HEAD_BYTES: Final = 65_536
MIN_BYTES_PER_S: Final = 500
"""A body or a response that moves slower than this over a whole time-out has stalled."""
LOOK_EVERY_S: Final = 1.0


class Phase(Enum):
    """What a connection is about, as seen from what its client has sent."""

    IDLE = "idle"
    """No byte of a further request has come."""
    HEAD = "head"
    BODY = "body"
    DRAIN = "drain"
    """The response is sent; what still comes of the body is thrown away."""
    ANSWER = "answer"
    """The request is complete: it is the server's turn."""


class Overdue(Enum):
    """Why a connection ends: the status and code that its client is told, if it can still be told, and the message."""

    IDLE = (None, "connection_idle", "")
    HEAD = (HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The head of the request did not come in time.")
    BODY = (HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The body of the request stopped coming.")
    RESPONSE = (None, "response_stalled", "")
    LONG_HEAD = (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "headers_too_large",
        f"The head of the request is longer than {MAX_HEAD_BYTES:,} bytes.",
    )
    CROWDED_OUT = (None, "crowded_out", "")  # distinct values: enums make one of equal ones
    FULL = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "too_many_connections",
        "The service has as many connections as it can. Repeat the request in a moment.",
    )

    def response(self) -> bytes:
        """The whole response in the shape of every error; nothing where the client gets none."""
        status, code, message = self.value
        if status is None:
            return b""
        kind = SERVER_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else INVALID_REQUEST
        detail = ErrorDetail(message=message, type=kind, code=code)
        body = json.dumps(ErrorBody(error=detail).model_dump()).encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\nretry-after: 2\r\n"
            f"x-request-id: req_{secrets.token_hex(12)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True)
class ConnectionBounds:
    """Seconds unless said otherwise. `keep_alive_s`: how long a connection may be open between two requests."""

    max_connections: int = 2_000
    header_timeout_s: float = 20
    body_timeout_s: float = 60
    keep_alive_s: float = 75
    look_every_s: float = LOOK_EVERY_S
    clock: Callable[[], float] = monotonic


@dataclass
class Progress:
    """Where one connection stands. `since`: when its phase, or the present window of its body, began."""

    since: float
    phase: Phase = Phase.IDLE
    body_bytes: int = 0
    unparsed_bytes: int = 0
    """Bytes since the parser last made a head or a piece of body out of them."""
    unread_since: float | None = None
    """Since when the client has read too little of its response."""
    unread_bytes: int = 0

    def enter(self, phase: Phase, now: float) -> None:
        """Begin a phase."""
        self.phase, self.since = phase, now
        self.body_bytes = self.unparsed_bytes = 0

    def restart(self, now: float) -> None:
        """Begin the time of the phase again."""
        self.since, self.body_bytes = now, 0

    def overdue(self, now: float, bounds: ConnectionBounds) -> Overdue | None:
        """Why the client has kept the server waiting for too long, if it has. A body in good progress starts again."""
        waited = now - self.since
        match self.phase:
            case Phase.IDLE if waited > bounds.keep_alive_s:
                return Overdue.IDLE
            case Phase.HEAD | Phase.DRAIN if waited > bounds.header_timeout_s:
                return Overdue.HEAD
            case Phase.BODY if waited > bounds.body_timeout_s:
                if self.body_bytes < MIN_BYTES_PER_S * waited:
                    return Overdue.BODY
                self.restart(now)
        return None

    def stopped_reading(self, size: int, now: float, bounds: ConnectionBounds) -> bool:
        """Whether the client stopped reading: `size` bytes of its response wait, and too few have left since."""
        if not size:
            self.unread_since = None
            return False
        if self.unread_since is None or self.unread_bytes - size >= MIN_BYTES_PER_S * bounds.body_timeout_s:
            self.unread_since, self.unread_bytes = now, size
        return now - self.unread_since > bounds.body_timeout_s
