"""Turns an HTTP failure into one line for the user."""

from http import HTTPStatus
from typing import Any

import httpx2

from api.cli.errors import CliError, ServerAway
from api.cli.exit_codes import ExitCode

AWAY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
NO_SUCH_ROUTE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
ADDRESS = "check the address: --url, ORCHARD_URL or the profile; orchard doctor says which is in use"
HINTS = {
    HTTPStatus.UNAUTHORIZED: "orchard login, or set ORCHARD_API_KEY to a key that is not revoked",
    HTTPStatus.FORBIDDEN: "a key that is allowed to do this; tenants and keys need an admin key (ORCHARD_ADMIN_KEY)",
    HTTPStatus.NOT_FOUND: "check the id and, with orchard doctor, whose key is in use",
    HTTPStatus.TOO_MANY_REQUESTS: "wait for a running job to end, or ask your operator for more",
}


def refusal(response: httpx2.Response) -> CliError:
    """The error of a 4xx or 5xx response, in OpenAI's shape or not."""
    body = _error_body(response)
    status = response.status_code
    if status in NO_SUCH_ROUTE and not body:
        return no_orchard(str(response.request.url), f"{status} {response.reason_phrase}")
    message = str(body.get("message") or f"the server answered {status} {response.reason_phrase}")
    if parameter := body.get("param"):
        message = f"{message.rstrip('.')} (field {parameter})." if str(parameter) not in message else message
    hint = HINTS.get(HTTPStatus(status)) if status in list(HTTPStatus) else None
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        request_id = response.headers.get("x-request-id", "unknown")
        hint = f"again in a moment; if it persists, send your operator request id {request_id}"
    code = str(body.get("code") or body.get("type") or f"http_{status}")
    kind = ServerAway if status in AWAY else CliError
    return kind(message, code=code, hint=hint, exit_code=_exit_code(status))


def no_orchard(url: str, answer: str) -> CliError:
    """The response is not from an Orchard server: a proxy's page, or another service's port."""
    return CliError(f"{url} is not an Orchard server: it answered {answer}", code="not_orchard", hint=ADDRESS)


def unreachable(url: str, error: Exception) -> ServerAway:
    """No response, or a truncated one."""
    return ServerAway(
        f"{url} cannot be reached: {error or type(error).__name__}",
        code="unreachable",
        hint="orchard up to start a server here, or set ORCHARD_URL; orchard doctor looks closer",
    )


def _error_body(response: httpx2.Response) -> dict[str, Any]:
    try:
        content = response.json()
    except ValueError:
        return {}
    error = content.get("error") if isinstance(content, dict) else None
    return error if isinstance(error, dict) else {}


def _exit_code(status: int) -> ExitCode:
    match status:
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return ExitCode.AUTH
        case HTTPStatus.TOO_MANY_REQUESTS:
            return ExitCode.QUOTA
        case _:
            return ExitCode.ERROR
