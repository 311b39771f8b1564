"""`orchard doctor`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from api.cli.commands.up import HOME
from api.cli.errors import CliError
from api.cli.output import Format, FormatOption, show_list
from api.cli.session import session_of

COLUMNS = {"CHECK": "name", "": "verdict", "FOUND": "found", "TO DO": "todo"}


def doctor(
    context: typer.Context,
    home: Annotated[Path, typer.Option(help="Home of a stack on this machine.")] = HOME,
    output: FormatOption = Format.TABLE,
) -> None:
    """Check this machine, the profile, the server and the key, and say what to do."""
    from api.cli.checks import all_checks
    from api.cli.errors import CheckResult

    checks = list(all_checks(session_of(context), home))
    show_list([asdict(check) for check in checks], COLUMNS, output)
    bad = [check.name for check in checks if check.verdict is CheckResult.BAD]
    if bad:
        raise CliError(f"not well: {', '.join(bad)}", code="unwell", hint="the TO DO column says how")
