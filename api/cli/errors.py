"""How a command fails: exit codes, the one line a user reads, what an HTTP failure becomes, and doctor's findings."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from orchestrator.characters import escaped

if TYPE_CHECKING:
    import httpx2


class ExitCode(IntEnum):
    """What the process tells its caller. Scripts depend on the numbers: never renumber."""

    OK = 0
    ERROR = 1
    USAGE = 2
    JOB_FAILED = 3
    AUTH = 4
    QUOTA = 5


EPILOG = (
    "Exit codes: 0 done; 1 error; 2 wrong usage or an invalid job file; 3 the job failed or was cancelled; "
    "4 the key is missing, wrong or not allowed; 5 quota or rate limit. "
    "Settings: flag, then ORCHARD_URL / ORCHARD_API_KEY / ORCHARD_ADMIN_KEY / ORCHARD_PROFILE, then the profile file."
)


class CliError(Exception):
    """A failure the user can act on: what happened, a stable code, what to do, and the exit code."""

    def __init__(
        self, message: str, *, code: str = "error", hint: str | None = None, exit_code: ExitCode = ExitCode.ERROR
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.exit_code = exit_code

    def line(self) -> str:
        """`Error (code): message. Try: hint`, on one line."""
        text = f"Error ({self.code}): {' '.join(self.message.split())}"
        return escaped(f"{text.rstrip('.')}. Try: {self.hint}" if self.hint else text)


class ServerAway(CliError):
    """The server did not answer, or a proxy before it did: the same call may work in a moment."""


class StreamIdle(CliError):
    """The server ended a stream of events that had no news, in good order: open it again to go on."""


AWAY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
NO_SUCH_ROUTE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
ADDRESS = "check the address: --url, ORCHARD_URL or the profile; orchard doctor says which is in use"
HINTS = {
    HTTPStatus.UNAUTHORIZED: "orchard login, or set ORCHARD_API_KEY to a key that is not revoked",
    HTTPStatus.FORBIDDEN: "a key that is allowed to do this; tenants and keys need an admin key (ORCHARD_ADMIN_KEY)",
    HTTPStatus.NOT_FOUND: "check the id and, with orchard doctor, whose key is in use",
    HTTPStatus.TOO_MANY_REQUESTS: "wait for a running job to end, or ask your operator for more",
}


def refusal(response: "httpx2.Response") -> CliError:
    """What the server answered with a 4xx or 5xx, in OpenAI's error shape or not."""
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
        hint = f"again in a moment; if it stays, tell your operator request id {request_id}"
    code = str(body.get("code") or body.get("type") or f"http_{status}")
    kind = ServerAway if status in AWAY else CliError
    return kind(message, code=code, hint=hint, exit_code=_exit_code(status))


def no_orchard(url: str, answer: str) -> CliError:
    """Somebody answered, who cannot be the server: a proxy's page, or what listens on another port."""
    return CliError(f"{url} is not an Orchard server: it answered {answer}", code="not_orchard", hint=ADDRESS)


def unreachable(url: str, error: Exception) -> ServerAway:
    """The server did not answer, or the answer broke off."""
    return ServerAway(
        f"{url} cannot be reached: {error or type(error).__name__}",
        code="unreachable",
        hint="orchard up to start a server here, or set ORCHARD_URL; orchard doctor looks closer",
    )


def _error_body(response: "httpx2.Response") -> dict[str, Any]:
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


class CheckResult(StrEnum):
    """How a check ended. A note is no failure: the thing is needed for some uses only."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Check:
    """What was looked at, how it is, and when that is bad, what to do."""

    name: str
    verdict: CheckResult
    found: str
    todo: str = ""
