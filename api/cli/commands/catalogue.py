"""`orchard catalogue …`: the file of bases and flavors, on the machine where it lies."""

from typing import Annotated

import typer

from api.cli.output import say
from api.cli.settings import CatalogueOption, catalogue_of

catalogue = typer.Typer(no_args_is_help=True, help="The catalogue of bases, a file (operator).")


@catalogue.command("add")
def add(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="hf:org/name, file:/folder or gguf:/file.")],
    base_id: Annotated[
        str | None, typer.Option("--id", help="Name tenants use; by default the last part of the source.")
    ] = None,
    file: CatalogueOption = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub; its commit is kept.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the entry and write nothing.")] = False,
) -> None:
    """Read a base, show its entry and write it into the catalogue. Servers read the file when they start.

    Reads config, tokenizer and the headers of the weights. A base that cannot be trained is refused.
    """
    from api.cli.catalogue_file import add_base

    add_base(source, base_id, revision, None if dry_run else catalogue_of(file))


@catalogue.command("check")
def check(file: CatalogueOption = None) -> None:
    """List every error of the catalogue, and of the bases on this machine, with its line; fail when there is one."""
    from api.cli.catalogue_errors import told
    from api.cli.catalogue_file import slow_tokenizer
    from orchestrator.catalogue.document import CatalogueError
    from orchestrator.catalogue.file import check_catalogue
    from orchestrator.catalogue.tokenizers import python_tokenizer_of

    path = catalogue_of(file)
    try:
        found = check_catalogue(path)
    except CatalogueError as error:
        raise told(error) from error
    for base in found.bases:
        if (class_name := python_tokenizer_of(base.spec)) is not None:
            say(slow_tokenizer(base.id, class_name))
    say(f"{path} is well. Bases: {len(found.bases)}, flavors: {len(found.flavors)}.")
