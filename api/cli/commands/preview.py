"""`orchard preview`: rows as the tokens that a base is trained on."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from api.cli.arguments import absolute, assignment, missing_argument
from api.cli.output import Format, FormatOption, console, show_one
from api.cli.session import session_of


def preview(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Data set: a path, or the id of an upload.")],
    base: Annotated[str, typer.Option("--base", help="Base of `orchard bases`, whose tokens to show.")],
    rows: Annotated[int, typer.Option("-n", "--rows", min=1, max=10, help="Rows to show.")] = 3,
    validation_file: Annotated[str | None, typer.Option(help="Also show it, and what it shares with FILE.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="A field of the job: data.max_seq_len=64."),
    ] = None,
    picture: Annotated[Path | None, typer.Option("--save", help="Also save the page, as .svg or .html.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show the first rows as tokens, with those that are trained marked, and count all rows. Nothing is trained.

    Exit code 1: rows cannot be used, and the first are named.
    """
    from api.cli import submission
    from api.cli.errors import CliError
    from api.cli.job_yaml import read_job
    from api.cli.preview_page import page, save

    if picture is not None and picture.suffix not in {".svg", ".html"}:
        raise missing_argument(f"--save {picture}: pages are saved as .svg or .html", "write --save preview.svg")
    given = {"training_file": absolute(file), "model": base} | dict(map(assignment, assignments or ()))
    if validation_file:
        given["validation_file"] = absolute(validation_file)
    with session_of(context).tenant() as client:
        view = submission.preview(client, read_job(None, given), Path(), rows)
    if picture is not None:
        save(view, picture)
    if output is Format.TABLE:
        for paragraph in page(view, color=sys.stdout.isatty()):
            console().print(paragraph, soft_wrap=True)
    else:
        show_one(view, output)
    files = [part for part in (view.training, view.validation) if part is not None]
    if problems := sum(part.issue_count for part in files):
        hint = "correct the lines named above, or set data.overlength or data.on_dropped"
        role = "training" if files[0].issue_count else "validation"
        raise CliError(f"{problems:,} row(s) cannot be used", code=f"invalid_{role}_file", hint=hint)
