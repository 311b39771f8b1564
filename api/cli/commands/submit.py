"""`orchard submit` and `orchard schema`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.arguments import absolute, assignment, missing_argument
from api.cli.output import Format, FormatOption, say, show_one
from api.cli.session import session_of

DATA = "Data"
TRAINING = "Training"


JobPath = Annotated[Path | None, typer.Argument(metavar="JOB.yaml", help="Job file; flags win over it.")]
TrainingFile = Annotated[
    str | None, typer.Option("--file", help="Training JSONL, or the id of an upload.", rich_help_panel=DATA)
]
ValidationFile = Annotated[str | None, typer.Option(help="Validation JSONL or id.", rich_help_panel=DATA)]
MaxSeqLen = Annotated[int | None, typer.Option(help="Tokens a row may have at most.", rich_help_panel=DATA)]
Overlength = Annotated[
    str | None, typer.Option(help="What becomes of longer rows: error, truncate or drop.", rich_help_panel=DATA)
]
Model = Annotated[str | None, typer.Option(help="Base; see `orchard bases`.")]
Name = Annotated[str | None, typer.Option(help="Name of the job, and part of its adapter's name.")]
Quantization = Annotated[
    str | None,
    typer.Option(help="How the base is stored: nf4, int8 or none; see `orchard bases`.", rich_help_panel=TRAINING),
]
Rank = Annotated[int | None, typer.Option(help="Rank of the adapter: its size.", rich_help_panel=TRAINING)]
Alpha = Annotated[float | None, typer.Option(help="The adapter's scale is alpha / rank.", rich_help_panel=TRAINING)]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training file.", rich_help_panel=TRAINING)]
BatchSize = Annotated[int | None, typer.Option(help="Rows per step.", rich_help_panel=TRAINING)]
LearningRate = Annotated[
    float | None, typer.Option(help="Learning rate after warm-up, such as 2e-4.", rich_help_panel=TRAINING)
]
Seed = Annotated[
    int | None, typer.Option(help="Seed of row order, first weights and dropout.", rich_help_panel=TRAINING)
]
Priority = Annotated[int | None, typer.Option(help="Jobs of a larger priority go first; 0 by default.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Any field, such as training.warmup_ratio=0.1.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show spec, steps and memory; create nothing.")]
WatchOption = Annotated[bool, typer.Option("--watch", help="Follow the job to its end; the exit code tells how.")]
Key = Annotated[str | None, typer.Option(help="Any text; the same twice is one job.")]


def submit(
    context: typer.Context,
    job_file: JobPath = None,
    file: TrainingFile = None,
    validation_file: ValidationFile = None,
    model: Model = None,
    name: Name = None,
    max_seq_len: MaxSeqLen = None,
    overlength: Overlength = None,
    quantization: Quantization = None,
    rank: Rank = None,
    alpha: Alpha = None,
    n_epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    seed: Seed = None,
    priority: Priority = None,
    assignments: Assignments = None,
    dry_run: DryRun = False,
    watch: WatchOption = False,
    idempotency_key: Key = None,
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
        raise missing_argument(
            "nothing to submit", "orchard submit JOB.yaml, or orchard submit --file train.jsonl --model BASE"
        )
    flags = {
        "training_file": absolute(file),
        "validation_file": absolute(validation_file),
        "data": {"max_seq_len": max_seq_len, "overlength": overlength},
        "method": {"rank": rank, "alpha": alpha},
        "training": {"n_epochs": n_epochs, "batch_size": batch_size, "learning_rate": learning_rate},
        **{"model": model, "name": name, "quantization": quantization, "seed": seed, "priority": priority},
    }
    given = dict(_given(flags)) | dict(map(assignment, assignments or ()))
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
        if not watch:
            show_one(created, output)
            return
        ended = watching.watch_job(client, created.id)
        watching.show_end(client, ended, output)
    watching.raise_for_outcome(ended)


def _given(flags: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The flags that were given, by their dotted place in the job file."""
    for name, value in flags.items():
        if isinstance(value, dict):
            yield from _given(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value
