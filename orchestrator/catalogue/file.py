"""The catalogue file, read and written. Every error in it is told at once, each with its line.

What an entry leaves out is read from the base itself when it is a file or folder that this process can see, or lies in
this machine's cache of the hub. `orchard catalogue add` writes whole entries, so that no process has to.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from orchestrator.catalogue.document import CatalogueError, Document, Finding
from orchestrator.catalogue.entries import Catalogue, CatalogueBase
from orchestrator.catalogue.refusal import Refused
from orchestrator.catalogue.schema import Entry, File, entry_of


def check_catalogue(path: Path) -> Catalogue:
    """Read the catalogue and every base whose files this machine has. Raises: CatalogueError as `load_catalogue`.

    Processes of the service only load it: the files may be on other machines, and one base does not stop the others.
    """
    return _read(path, look_at_files=True)


def load_catalogue(path: Path) -> Catalogue:
    """Read the catalogue. Raises: CatalogueError naming every error with its line."""
    return _read(path, look_at_files=False)


def _read(path: Path, *, look_at_files: bool) -> Catalogue:
    document = Document.of(path)
    findings = [*document.repeated_keys(), *_of_schema(document), *_named_twice(document)]
    bases: list[CatalogueBase] = []
    for number, entry in _entries(document):
        try:
            bases.append(entry.base())
            if look_at_files:
                entry.check()
        except Refused as error:
            findings.append(_finding(document, ("bases", number, error.field), str(error)))
    if findings:
        raise CatalogueError(path, sorted(findings, key=lambda each: each.line))
    return Catalogue(bases=tuple(bases), flavors=File.model_validate(document.value).flavors)


def dump_catalogue(catalogue: Catalogue) -> str:
    """The file that reads as this catalogue."""
    content = {
        "bases": [entry_of(base) for base in catalogue.bases],
        "flavors": [flavor.model_dump(mode="json") for flavor in catalogue.flavors],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _of_schema(document: Document) -> Iterator[Finding]:
    try:
        File.model_validate(document.value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            yield _finding(document, detail["loc"], _message(detail))
    for kind in File.model_fields:
        if isinstance(document.value, dict) and document.value.get(kind) == []:
            yield _finding(document, (kind,), "is empty: there has to be one at least")


def _named_twice(document: Document) -> Iterator[Finding]:
    for kind, key in (("bases", "id"), ("flavors", "name")):
        seen: dict[str, int] = {}
        for number, item in _items(document, kind):
            name = item.get(key)
            if isinstance(name, str) and name in seen:
                first = document.line(kind, seen[name], key)
                yield _finding(document, (kind, number, key), f"{name!r} is listed twice, first at line {first}")
            elif isinstance(name, str):
                seen[name] = number


def _entries(document: Document) -> Iterator[tuple[int, Entry]]:
    """Those whose fields are all right."""
    for number, item in _items(document, "bases"):
        try:
            yield number, Entry.model_validate(item)
        except ValidationError:
            continue  # `_of_schema` has told


def _items(document: Document, kind: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    listed = document.value.get(kind) if isinstance(document.value, dict) else None
    for number, item in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(item, dict):
            yield number, item


def _finding(document: Document, location: tuple[str | int, ...], message: str) -> Finding:
    field = ".".join(str(part) for part in location) or "(top level)"
    return Finding(document.line(*location), field, message)


def _message(detail: Mapping[str, Any]) -> str:
    match detail["type"]:
        case "extra_forbidden" if detail["loc"][-1] == "spec":
            return "is not nested any more: write its fields beside `id`"
        case "extra_forbidden" if detail["loc"][-1] == "licence":
            return "is spelled `license`"
        case "extra_forbidden":
            return "is no field of a catalogue"
        case "missing":
            return "is missing"
        case _:
            return str(detail["msg"]).removeprefix("Value error, ")
