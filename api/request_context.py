"""Around every request: its id, a bound on its body, one log line, and an answer when something breaks."""

import secrets
import time
from http import HTTPStatus

import structlog
from fastapi import HTTPException
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_response

JSON_BODY_BYTES = 1_000_000
MULTIPART_OVERHEAD_BYTES = 100_000
DRAINED_BYTES = 64_000_000  # read on after a refusal, so that a client in mid-send gets to see the answer
_log = structlog.get_logger("orchard.api")


class RequestContext:
    """ASGI middleware. Uploads to `upload_path` may be `upload_bytes` long, other bodies 1 MB."""

    def __init__(self, app: ASGIApp, upload_path: str, upload_bytes: int) -> None:
        self._app = app
        self._upload_path = upload_path
        self._upload_bytes = upload_bytes + MULTIPART_OVERHEAD_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        limit = self._upload_bytes if scope["path"] == self._upload_path else JSON_BODY_BYTES
        try:
            if "\0" in scope["path"] or b"%00" in scope["query_string"]:
                message = "The URL must not contain the character U+0000."
                refusal = error_response(HTTPStatus.BAD_REQUEST, message, code="invalid_value")
                await refusal(scope, receive, exchange.send)
            else:
                await self._app(scope, _bounded(receive, limit), exchange.send)
        except ClientDisconnect:  # nobody is left to answer, and nothing is wrong here
            pass
        except Exception:
            _log.exception("request failed", request_id=exchange.id, method=scope["method"], path=scope["path"])
            if exchange.status is not None:
                raise
            sorry = f"The server had an error while processing your request. Quote the request id {exchange.id}."
            failure = error_response(HTTPStatus.INTERNAL_SERVER_ERROR, sorry, type="server_error", code="internal")
            await failure(scope, receive, exchange.send)
        finally:
            exchange.log()


class _Exchange:
    """One request and what became of it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.id = f"req_{secrets.token_hex(12)}"
        self.status: int | None = None
        self._scope = scope
        self._send = send
        self._started = time.monotonic()

    async def send(self, message: Message) -> None:
        """Pass the response on, with the request's id in its headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["x-request-id"] = self.id
        await self._send(message)

    def log(self) -> None:
        """Write the request's line. No header and no query: they may hold secrets."""
        _log.info(
            "request",
            request_id=self.id,
            method=self._scope["method"],
            path=self._scope["path"],
            status=self.status,
            seconds=round(time.monotonic() - self._started, 4),
        )


def _bounded(receive: Receive, limit: int) -> Receive:
    """`receive` that raises a 413 once more than `limit` bytes of body have come."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen <= limit:
            return message
        while message.get("more_body") and seen < limit + DRAINED_BYTES:
            message = await receive()
            seen += len(message.get("body", b""))
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request body is longer than {limit:,} bytes.")

    return bounded
