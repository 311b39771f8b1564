"""`orchard up`."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.output import say

HOME = Path(".orchard")


def up(
    home: Annotated[Path, typer.Option(help="Folder of everything the stack keeps.")] = HOME,
    catalogue: Annotated[
        Path | None,
        typer.Option(help="YAML of bases and flavors. By default HOME/catalogue.yaml, made with the demo's base."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address the API listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the API; 0: any free one.")] = 8000,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow; 0: any free one.")] = 5000,
    profile: Annotated[str, typer.Option(help="Profile to keep the address and the keys under.")] = "local",
) -> None:
    """Run the whole stack on this machine until Ctrl-C.

    The first time, an admin key is made and printed once. The profile gets it and the key of a tenant `local`, so that
    every other command works at once on this machine.
    """
    from api.cli.local_stack import first_catalogue, run_stack
    from orchestrator.embedded.stack import StackOptions

    chosen = catalogue or first_catalogue(home)
    run_stack(StackOptions(home, chosen, host=host, port=port, mlflow_port=mlflow_port), profile, say)
