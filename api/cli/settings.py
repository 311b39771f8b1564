"""What the operator's commands on a server's own machine need: its database, its catalogue."""

import os
from pathlib import Path
from typing import Annotated

import typer

from api.cli.errors import CliError, ExitCode

DATABASE_URL = "ORCHARD_DATABASE_URL"
CATALOGUE = "ORCHARD_CATALOGUE"
USUAL_CATALOGUE = Path(".orchard/catalogue.yaml")

DatabaseOption = Annotated[
    str | None,
    typer.Option("--database-url", help=f"SQLAlchemy URL; or {DATABASE_URL}, which `ps` does not show."),
]
CatalogueOption = Annotated[
    Path | None,
    typer.Option(
        "--catalogue", help=f"The file; or {CATALOGUE}. {USUAL_CATALOGUE} by default, as `orchard up` has it."
    ),
]


def database_of(option: str | None) -> str:
    """The database to work on. Raises CliError when none is named."""
    url = option or os.environ.get(DATABASE_URL)
    if not url:
        raise CliError(
            "no database is named",
            code="no_database",
            hint=f"set {DATABASE_URL}, as for the API and the orchestrator, or give --database-url",
            exit_code=ExitCode.USAGE,
        )
    return url


def catalogue_of(option: Path | None) -> Path:
    """The catalogue to work on."""
    return option or Path(os.environ.get(CATALOGUE) or USUAL_CATALOGUE)
