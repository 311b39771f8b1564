"""How a command gives up over a catalogue: every error on a line of its own, then the one line of the failure."""

from api.cli.errors import CliError, ExitCode
from api.cli.output import say
from orchestrator.catalogue.document import CatalogueError


def told(error: CatalogueError) -> CliError:
    """Say every error as `file:line: field: what`, and return what ends the command."""
    say(str(error))
    count = len(error.findings)
    errors = "error" if count == 1 else "errors"
    message = f"{count} {errors} in {error.path}"
    return CliError(message, code="catalogue", hint="correct the lines above", exit_code=ExitCode.USAGE)
