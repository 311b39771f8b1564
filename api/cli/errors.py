"""`CliError`: the only way a command fails, shown as one line with what to do."""

from api.cli.exit_codes import ExitCode


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
        return f"{text.rstrip('.')}. Try: {self.hint}" if self.hint else text


class ServerAway(CliError):
    """No response, or an error from a proxy in front of the server: the same call may work in a moment."""
