"""The catalogue file: what an operator writes, and what becomes of it. A base needs an `id` and a `source` there.

What an entry leaves out is read from the base itself when it is a file or folder that this process can see, or lies in
this machine's cache of the hub. `orchard catalogue add` writes whole entries, so that no process has to.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import Field, ValidationError, field_validator

from orchestrator.catalogue.document import CatalogueError, Document, Finding
from orchestrator.catalogue.entries import Catalogue, CatalogueBase, Flavor
from orchestrator.catalogue.inspect import inspect
from orchestrator.catalogue.refusal import Refused
from workers.contract.base import BaseShape, BaseSpec, ComputeDtype, Quantization
from workers.contract.model import Frozen

USUAL_SEQ_LEN: Final = 2048  # tokens; or what the base has positions for
OF_SPEC: Final = ("id", "source", "revision", "weight_digest", "chat_template")
OF_OFFER: Final = ("license", "quantizations", "compute_dtype")


class Entry(Frozen):
    """A base as the file gives it."""

    id: str = Field(min_length=1, max_length=128)
    source: str = Field(pattern=r"^(hf|file|gguf):.+")
    revision: str | None = None
    weight_digest: str | None = None
    chat_template: str | None = None
    license: str | None = None
    quantizations: tuple[Quantization, ...] = Field(tuple(Quantization), min_length=1)
    compute_dtype: ComputeDtype = ComputeDtype.BF16
    max_seq_len: int | None = Field(None, ge=8)
    target_modules: tuple[str, ...] | None = Field(None, min_length=1)
    shape: BaseShape | None = None

    @field_validator("source")
    @classmethod
    def _absolute(cls, source: str) -> str:
        scheme, _, location = source.partition(":")
        if scheme != "hf" and not Path(location).is_absolute():
            raise ValueError("needs an absolute path: processes with other working folders read it")
        return source

    def base(self) -> CatalogueBase:
        """The base on offer. Raises: Refused when it has to be read and cannot be, or cannot be trained."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in OF_OFFER}
        shape = self.shape
        if shape is None:
            facts = inspect(self.source, self.revision)
            shape = facts.shape
            fields |= {"license": self.license or facts.license, "target_modules": facts.target_modules}
        if self.target_modules is not None:
            fields["target_modules"] = self.target_modules
        length = self.max_seq_len or min(USUAL_SEQ_LEN, shape.max_positions)
        if length > shape.max_positions:
            raise Refused(f"max_seq_len {length} exceeds the base's {shape.max_positions} positions")
        spec = BaseSpec(shape=shape, **{name: getattr(self, name) for name in OF_SPEC})
        return CatalogueBase(spec=spec, max_seq_len=length, **fields)


class File(Frozen):
    """The whole file. That its lists are not empty is asked apart: pydantic takes wrong items for missing ones."""

    bases: tuple[Entry, ...]
    flavors: tuple[Flavor, ...]


def load_catalogue(path: Path) -> Catalogue:
    """Read the catalogue. Raises: CatalogueError naming every error with its line."""
    document = Document.of(path)
    findings = [*_of_schema(document), *_named_twice(document)]
    bases: list[CatalogueBase] = []
    for number, entry in _entries(document):
        try:
            bases.append(entry.base())
        except Refused as error:
            field = "max_seq_len" if "max_seq_len" in str(error) else "source"
            findings.append(_finding(document, ("bases", number, field), str(error)))
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


def entry_of(base: CatalogueBase) -> dict[str, Any]:
    """The entry of a base, with everything written out that is known."""
    offer = base.model_dump(mode="json", exclude={"spec"})
    fields = base.spec.model_dump(mode="json") | offer
    return {name: fields[name] for name in Entry.model_fields if fields[name] is not None}


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
