"""`orchard catalogue add`: what it says, and the file it makes where there is none."""

from pathlib import Path

import psutil
import typer

from api.cli.catalogue_errors import told
from api.cli.errors import CliError, ExitCode
from api.cli.output import say
from orchestrator.catalogue.add import NewBase, read_base, write_into
from orchestrator.catalogue.document import CatalogueError
from orchestrator.catalogue.entries import Catalogue, Flavor
from orchestrator.catalogue.file import dump_catalogue
from orchestrator.catalogue.refusal import Refused
from orchestrator.characters import escaped_lines

SHARE_OF_MEMORY = 0.8  # of this machine; the rest is for whatever runs beside hosts


def add_base(source: str, base_id: str | None, revision: str | None, path: Path | None) -> None:
    """Show the entry on standard output and write it, unless `path` is None. Raises CliError."""
    try:
        new = read_base(source, base_id, revision)
    except Refused as error:
        raise CliError(f"{source}: {error}", code="base_refused", exit_code=ExitCode.USAGE) from error
    typer.echo(escaped_lines(new.text), nl=False)
    say(_about(new))
    if path is None:
        return
    try:
        _write(path, new)
    except CatalogueError as error:
        raise told(error) from error


def _write(path: Path, new: NewBase) -> None:
    if path.exists():
        write_into(path, new)
        say(f"{path} offers {new.base.id} to servers that start from now on.")
        return
    memory = int(psutil.virtual_memory().total * SHARE_OF_MEMORY)
    flavor = Flavor(name="cpu", memory_bytes=memory, count=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_catalogue(Catalogue(bases=(new.base,), flavors=(flavor,))), encoding="utf-8")
    say(f"{path} is new. Its one flavor is a guess, this machine's processor: change it to the devices you have.")


def _about(new: NewBase) -> str:
    shape, facts = new.facts.shape, new.facts
    template = (
        "has a chat template"
        if facts.has_chat_template
        else ("has no chat template: rows with `messages` will be refused, unless the entry gives a `chat_template`")
    )
    slow = "" if facts.python_tokenizer is None else f" {slow_tokenizer(new.base.id, facts.python_tokenizer)}"
    return (
        f"{new.base.id}: {shape.parameters / 1e6:,.1f} million weights, {shape.max_positions} positions, "
        f"license {facts.license or 'not stated'}; it {template}.{slow}"
    )


def slow_tokenizer(base_id: str, class_name: str) -> str:
    """What an operator should know of a base whose tokenizer is written in Python."""
    return (
        f"The tokenizer of {base_id} ({class_name}) is written in Python and does not tell which text a token comes "
        "from: rows with `messages` will be refused, rows of text and of prompt and completion work."
    )
