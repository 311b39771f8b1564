"""Returns every error in OpenAI's shape, by one table from error kinds to HTTP."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from orchestrator.characters import escaped
from orchestrator.errors import Kind, ServiceError

STATUS: Final[Mapping[Kind, HTTPStatus]] = {
    Kind.INVALID: HTTPStatus.BAD_REQUEST,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.UNPROCESSABLE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.QUOTA: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.BUSY: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.TOO_SLOW: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.FULL: HTTPStatus.INSUFFICIENT_STORAGE,
}
RETRY_AFTER_S: Final = 2  # outages last longer than the first pause of OpenAI's clients, half a second
HEADERS: Final[Mapping[Kind, Mapping[str, str]]] = {
    Kind.UNAUTHENTICATED: {"www-authenticate": "Bearer"},
    Kind.UNPROCESSABLE: {"x-should-retry": "false"},
    Kind.QUOTA: {"x-should-retry": "false"},  # OpenAI's clients retry a 429 otherwise
    Kind.BUSY: {"retry-after": str(RETRY_AFTER_S)},
    Kind.UNAVAILABLE: {"x-should-retry": "true", "retry-after": str(RETRY_AFTER_S)},
    Kind.TOO_SLOW: {"x-should-retry": "false"},
    Kind.FULL: {"x-should-retry": "false"},
}
OUTAGES: Final = frozenset({Kind.UNAVAILABLE, Kind.TOO_SLOW, Kind.FULL})
SERVER_ERROR: Final = "server_error"
TYPE: Final[Mapping[Kind, str]] = {
    Kind.QUOTA: "insufficient_quota",
    Kind.BUSY: "rate_limit_error",
    Kind.UNAVAILABLE: SERVER_ERROR,
    Kind.TOO_SLOW: SERVER_ERROR,
    Kind.FULL: SERVER_ERROR,
}
INVALID_REQUEST: Final = "invalid_request_error"
_log = structlog.get_logger("orchard.api")
_ECHOED_CHARS = 60
_UNPARSED: Final = "There was an error parsing the body"  # FastAPI's message when its parser fails
_CODES: Final = {"missing": "missing_required_parameter", "extra_forbidden": "unknown_parameter"}


class ErrorDetail(BaseModel):
    """What went wrong, and what to do."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorDetail


def error_response(
    status: int,
    message: str,
    *,
    type: str = INVALID_REQUEST,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error in the shape of OpenAI's clients."""
    param = None if param is None else escaped(param)  # both may repeat what was sent, also what no response can hold
    body = ErrorBody(error=ErrorDetail(message=escaped(message), type=type, param=param, code=code))
    return JSONResponse(body.model_dump(), status, dict(headers or {}))


def documented(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route, for the OpenAPI document."""
    listed: dict[int | str, dict[str, Any]] = {
        int(status): {"model": ErrorBody, "description": status.phrase}
        for status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, *statuses)
    }
    return listed | {"default": {"model": ErrorBody, "description": "Any other error, in the same shape"}}


def install(app: FastAPI) -> None:
    """Make the application return every error in this shape."""
    app.add_exception_handler(ServiceError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)  # noqa: S101  # starlette dispatches by type
    return refusal(error)


def refusal(error: ServiceError) -> JSONResponse:
    """A service error as an HTTP response. An outage is logged with its cause, which the caller never sees."""
    if error.kind in OUTAGES:
        _log.warning("outage", code=error.code, cause=repr(error.__cause__))
    return error_response(
        STATUS[error.kind],
        str(error),
        type=TYPE.get(error.kind, INVALID_REQUEST),
        param=error.param,
        code=error.code,
        headers=HEADERS.get(error.kind),
    )


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first, *others = error.errors()
    param = _param(first)
    message = _message(first, param)
    if names := sorted({name for other in others if (name := _param(other)) not in {None, param}}):
        message += f" Also wrong: {', '.join(str(name) for name in names)}."
    code = _CODES.get(first["type"], "invalid_value")
    return error_response(HTTPStatus.BAD_REQUEST, message, param=param, code=code)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    route = f"{request.method} {request.url.path}"
    codes = {400: "invalid_value", 404: "unknown_url", 405: "method_not_supported", 413: "request_too_large"}
    messages = {404: f"Unknown request URL: {route}.", 405: f"Not allowed: {route}."}
    message = messages.get(error.status_code, error.detail)
    if message == _UNPARSED:
        message = (
            "We could not parse the JSON body of your request: send UTF-8, with no deep nesting and no huge numbers."
        )
    return error_response(error.status_code, message, code=codes.get(error.status_code), headers=error.headers)


def _param(detail: Mapping[str, Any]) -> str | None:
    """`("body", "x_orchard", "method", "rank")` -> `x_orchard.method.rank`."""
    if detail["type"] == "json_invalid":
        return None
    _, *path = detail["loc"]
    return ".".join(str(part) for part in path) or None


def _message(detail: Mapping[str, Any], param: str | None) -> str:
    match detail["type"]:
        case "json_invalid":
            reason = detail.get("ctx", {}).get("error", "it is not JSON")
            return f"We could not parse the JSON body of your request: {reason} (at character {detail['loc'][-1]})."
        case "missing" if param is None:
            return "The request has no body. Send a JSON object with Content-Type: application/json."
        case "model_attributes_type" | "dict_type" if param is None:
            return "The body must be a JSON object, sent with Content-Type: application/json."
        case "missing":
            return f"Missing required parameter: '{param}'."
        case "extra_forbidden":
            return f"Unrecognized request argument supplied: {param}."
    return f"Invalid value{f' for {param!r}' if param else ''}: {_reason(detail)}{_echo(detail.get('input'))}."


def _reason(detail: Mapping[str, Any]) -> str:
    match detail:
        case {"type": "model_attributes_type" | "dict_type"}:
            return "Input should be a JSON object"
        case {"type": "too_long", "input": str(text), "ctx": {"max_length": bound}}:  # pydantic says items
            return f"String should have at most {bound} characters, not {len(text)}"
        case {"type": "too_short", "input": str(), "ctx": {"min_length": bound}}:
            return f"String should have at least {bound} character(s)"
    return str(detail["msg"]).removeprefix("Value error, ")


def _echo(value: object) -> str:
    """The refused value, if it is short enough to show."""
    if value is None or (isinstance(value, Mapping | Sequence) and not isinstance(value, str)):
        return ""
    text = repr(value)
    return f" (got {text})" if len(text) <= _ECHOED_CHARS else ""
