"""`orchard submit` and `orchard schema`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.errors import CliError
from api.cli.exit_codes import ExitCode
from api.cli.output import Format, FormatOption, say, show_one
from api.cli.session import session_of

JobPath = Annotated[Path | None, typer.Argument(metavar="JOB.yaml", help="Job file; flags win over it.")]
DATA = "Data"
TRAINING = "Training"


def submit(
    context: typer.Context,
    job_file: JobPath = None,
    file: Annotated[
        str | None, typer.Option("--file", help="Training JSONL, or the id of an upload.", rich_help_panel=DATA)
    ] = None,
    validation_file: Annotated[str | None, typer.Option(help="Validation JSONL or id.", rich_help_panel=DATA)] = None,
    model: Annotated[str | None, typer.Option(help="Base; see `orchard bases`.")] = None,
    name: Annotated[str | None, typer.Option(help="Suffix of the adapter's name.")] = None,
    max_seq_len: Annotated[int | None, typer.Option(help="Tokens a row may have.", rich_help_panel=DATA)] = None,
    overlength: Annotated[
        str | None, typer.Option(help="Longer rows: error, truncate or drop.", rich_help_panel=DATA)
    ] = None,
    quantization: Annotated[str | None, typer.Option(help="nf4, int8 or none.", rich_help_panel=TRAINING)] = None,
    rank: Annotated[int | None, typer.Option(help="Of the adapter's matrices.", rich_help_panel=TRAINING)] = None,
    alpha: Annotated[float | None, typer.Option(help="Scale = alpha / rank.", rich_help_panel=TRAINING)] = None,
    n_epochs: Annotated[
        int | None, typer.Option(help="Passes over the training file.", rich_help_panel=TRAINING)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per step.", rich_help_panel=TRAINING)] = None,
    learning_rate: Annotated[float | None, typer.Option(help="After warm-up.", rich_help_panel=TRAINING)] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of order, first weights and dropout.", rich_help_panel=TRAINING)
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Larger goes first.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show spec, steps and memory; create nothing.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job to its end; the exit code tells how.")] = False,
    idempotency_key: Annotated[str | None, typer.Option(help="Any text; the same twice is one job.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Submit a job from a job file, from flags, or from both.

    What neither says the server decides; `--dry-run` shows what. `orchard schema` has every field. A job file:

    \b
    apiVersion: orchard/v1
    kind: FineTuneJob
    name: triage
    model: gemma-3-270m
    training_file: train.jsonl
    validation_file: check.jsonl
    quantization: nf4
    method: {rank: 8, alpha: 16, dropout: 0.05}
    data: {max_seq_len: 1024, overlength: truncate}
    training: {n_epochs: 3, batch_size: 8, learning_rate: 2.0e-4, early_stopping_patience: 3}
    limits: {max_runtime_s: 7200}
    metadata: {team: helpdesk}
    """
    if job_file is None and (file is None or model is None):
        raise CliError(
            "nothing to submit",
            code="missing_argument",
            hint="orchard submit JOB.yaml, or orchard submit --file train.jsonl --model BASE",
            exit_code=ExitCode.USAGE,
        )
    overrides = {
        "training_file": _absolute(file),
        "validation_file": _absolute(validation_file),
        "model": model,
        "name": name,
        "data.max_seq_len": max_seq_len,
        "data.overlength": overlength,
        "quantization": quantization,
        "method.rank": rank,
        "method.alpha": alpha,
        "training.n_epochs": n_epochs,
        "training.batch_size": batch_size,
        "training.learning_rate": learning_rate,
        "seed": seed,
        "priority": priority,
    }
    given = {key: value for key, value in overrides.items() if value is not None}
    _submit(context, job_file, given, dry_run=dry_run, watch=watch, idempotency_key=idempotency_key, output=output)


def schema() -> None:
    """Print the JSON Schema of the job file: every field, its meaning and its bounds."""
    import json

    from api.cli.job_file import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


def _submit(
    context: typer.Context,
    path: Path | None,
    overrides: dict[str, Any],
    *,
    dry_run: bool,
    watch: bool,
    idempotency_key: str | None,
    output: Format,
) -> None:
    from api.cli import submission
    from api.cli import watch as watching
    from api.cli.job_yaml import read_job

    job = read_job(path, overrides)
    folder = path.parent if path else Path()
    with session_of(context).tenant() as client:
        if dry_run:
            show_one(submission.dry_run(client, job, folder), output)
            return
        created = submission.submit(client, job, folder, idempotency_key)
        say(f"Submitted {created.id}; follow it with: orchard watch {created.id}")
        if watch:
            created = watching.watch_job(client, created.id)
        show_one(created, output)
        if watch:
            watching.raise_for_outcome(created)


def _absolute(name: str | None) -> str | None:
    """A path given on the command line is relative to the working folder, not to the job file."""
    return str(Path(name).absolute()) if name and Path(name).is_file() else name
