"""`orchard bases`, `adapters`, `download`."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.output import Format, FormatOption, say, show_list, show_one
from api.cli.session import session_of

TUNED = "ft:"


def bases(context: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """List the bases you may fine-tune."""
    with session_of(context).tenant() as client:
        found = [model for model in client.models() if not model.id.startswith(TUNED)]
    columns = {
        "BASE": "id",
        "PARAMETERS": "x_orchard.parameters",
        "QUANTIZATIONS": "x_orchard.quantizations",
        "MAX SEQ LEN": "x_orchard.max_seq_len",
        "LICENCE": "x_orchard.licence",
    }
    show_list(found, columns, output)


def adapters(context: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """List your adapters, newest first, and where the registry keeps them."""
    columns = {
        "ADAPTER": "id",
        "JOB": "x_orchard.job",
        "REGISTRY NAME": "x_orchard.registry.name",
        "VERSION": "x_orchard.registry.version",
        "EVAL BEFORE": "x_orchard.eval_loss_before",
        "EVAL AFTER": "x_orchard.eval_loss_after",
    }
    with session_of(context).tenant() as client:
        found = [model for model in client.models() if model.id.startswith(TUNED)]
    show_list(found, columns, output)


def download(
    context: typer.Context,
    adapter: Annotated[
        str, typer.Argument(metavar="JOB", help="Id ftjob-…, adapter ft:…, or name: the newest so called.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder.")],
    output: FormatOption = Format.TABLE,
) -> None:
    """Download an adapter: a PEFT folder and its tokenizer."""
    from api.cli.lookup import job_of
    from api.cli.unpack import unpack

    with session_of(context).tenant() as client:
        job_id = job_of(client, adapter)
        with client.adapter(job_id) as chunks:
            files = unpack(chunks, folder, job_id)
    say(f"{len(files)} files in {folder}; load with PeftModel.from_pretrained(base, {str(folder / 'peft')!r})")
    if output is not Format.TABLE:
        show_one({"job": job_id, "folder": str(folder), "files": [str(path) for path in files]}, output)
