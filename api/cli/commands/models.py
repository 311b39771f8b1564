"""`orchard bases`, `adapters`, `download`."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli.output import Format, FormatOption, say, show_list, show_one
from api.cli.session import session_of

TUNED = "ft:"
CHECKPOINT = ":ckpt-step-"


def bases(context: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """List the bases you may fine-tune."""
    with session_of(context).tenant() as client:
        found = [model for model in client.models() if not model.id.startswith(TUNED)]
    columns = {
        "BASE": "id",
        "PARAMETERS": "x_orchard.parameters",
        "QUANTIZATIONS": "x_orchard.quantizations",
        "MAX SEQ LEN": "x_orchard.max_seq_len",
        "LICENSE": "x_orchard.license",
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
        "PAGE": "x_orchard.registry.url",
    }
    with session_of(context).tenant() as client:
        found = [model for model in client.models() if model.id.startswith(TUNED)]
    show_list(found, columns, output)


def download(
    context: typer.Context,
    adapter: Annotated[
        str,
        typer.Argument(metavar="JOB", help="Id ftjob-…, adapter or checkpoint ft:…, or name: the newest so called."),
    ],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty folder.")],
    output: FormatOption = Format.TABLE,
) -> None:
    """Download an adapter: a PEFT folder and its tokenizer. Of a checkpoint, the PEFT folder."""
    from api.cli.lookup import job_of
    from api.cli.unpack import unpack

    with session_of(context).tenant() as client:
        by_name = CHECKPOINT in adapter
        source = adapter if by_name else job_of(client, adapter)
        with client.model_adapter(source) if by_name else client.adapter(source) as chunks:
            files = unpack(chunks, folder, None if by_name else source)
    readme = f"; {folder / 'peft' / 'README.md'} evaluates it" if Path("peft/README.md") in files else ""
    say(f"{len(files)} files in {folder}; load with PeftModel.from_pretrained(base, {str(folder / 'peft')!r}){readme}")
    if output is not Format.TABLE:
        show_one({"job": source, "folder": str(folder), "files": [str(path) for path in files]}, output)
