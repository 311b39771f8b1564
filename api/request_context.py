"""Wraps every request: its id, a limit on its body, one log line, and a response to internal errors."""

import re
import secrets
import time
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, clear_contextvars

from api.errors import SERVER_ERROR, error_response, refusal
from orchestrator.outages import outage
from orchestrator.tenancy.views import Principal

JSON_BODY_BYTES = 1_000_000
MULTIPART_OVERHEAD_BYTES = 100_000
DRAINED_BYTES = 64_000_000  # drained after a refusal, so that a client that is still sending sees the response
_log = structlog.get_logger("orchard.api")


class RequestContext:
    """ASGI middleware. `uploads`: path patterns of file uploads and their size limits; other bodies may have 1 MB."""

    def __init__(self, app: ASGIApp, uploads: Mapping[str, int]) -> None:
        self._app = app
        self._uploads = [(re.compile(path), size + MULTIPART_OVERHEAD_BYTES) for path, size in uploads.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, send)
        clear_contextvars()
        bind_contextvars(request_id=exchange.id)
        try:
            if where := _nul(scope):
                message = f"The {where} must not contain the character U+0000."
                nul = error_response(HTTPStatus.BAD_REQUEST, message, code="invalid_value")
                await nul(scope, receive, exchange.send)
            else:
                await self._app(scope, _bounded(receive, self._limit(scope["path"])), exchange.send)
        except ClientDisconnect:  # the client is gone, and nothing is wrong here
            pass
        except Exception as error:
            if exchange.status is None and (known := outage(error)):
                await refusal(known)(scope, receive, exchange.send)
                return
            _log.exception("request failed", method=scope["method"], path=scope["path"])
            if exchange.status is not None:
                raise
            await internal_error(exchange.id)(scope, receive, exchange.send)
        finally:
            exchange.log()

    def _limit(self, path: str) -> int:
        return next((size for pattern, size in self._uploads if pattern.fullmatch(path)), JSON_BODY_BYTES)


def _nul(scope: Scope) -> str | None:
    """Where the request has the character that PostgreSQL cannot hold."""
    if "\0" in scope["path"] or b"%00" in scope["query_string"] or b"\0" in scope["query_string"]:
        return "URL"
    return next((f"header {name.decode('latin-1')}" for name, value in scope["headers"] if b"\0" in value), None)


def note_principal(principal: Principal) -> None:
    """Every later log line of this request, its access line too, names the key, its role and its tenant."""
    tenant = None if principal.tenant is None else principal.tenant.id
    bind_contextvars(key_id=principal.key_id, role=principal.role.value, tenant=tenant)


def internal_error(request_id: str) -> JSONResponse:
    """The response to an internal bug, without internal details."""
    message = f"The server had an error while processing your request. Quote the request id {request_id}."
    return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, message, type=SERVER_ERROR, code="internal")


class _Exchange:
    """One request and its outcome."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.id = f"req_{secrets.token_hex(12)}"
        self.status: int | None = None
        self._scope = scope
        self._send = send
        self._started = time.monotonic()

    async def send(self, message: Message) -> None:
        """Forward the response with the request id in its headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["x-request-id"] = self.id
        await self._send(message)

    def log(self) -> None:
        """Log the request, without headers and query, which may contain secrets."""
        _log.info(
            "request",
            method=self._scope["method"],
            path=self._scope["path"],
            status=self.status,
            seconds=round(time.monotonic() - self._started, 4),
        )


def _bounded(receive: Receive, limit: int) -> Receive:
    """`receive` that raises a 413 once the body exceeds `limit` bytes."""
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
