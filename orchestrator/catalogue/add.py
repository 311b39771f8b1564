"""A new base for the catalogue file: its entry, and the file with it, everything else left as it was."""

import json
import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from orchestrator.catalogue.document import CatalogueError, Document, Finding
from orchestrator.catalogue.entries import CatalogueBase
from orchestrator.catalogue.facts import BaseFacts
from orchestrator.catalogue.file import load_catalogue
from orchestrator.catalogue.hub import fetch
from orchestrator.catalogue.inspect import facts_of, inspect
from orchestrator.catalogue.refusal import Refused
from orchestrator.catalogue.schema import LONGEST_ID, entry_of, usual_seq_len
from workers.contract.base import BaseSpec

SCHEMES: Final = ("hf", "file", "gguf")


@dataclass(frozen=True)
class NewBase:
    """A base that was read, and its entry."""

    facts: BaseFacts
    base: CatalogueBase

    @property
    def entry(self) -> dict[str, Any]:
        """As the file is to hold it."""
        return entry_of(self.base)

    @property
    def text(self) -> str:
        """The entry as an item of a YAML list."""
        return yaml.safe_dump([self.entry], sort_keys=False, allow_unicode=True)


def read_base(source: str, base_id: str | None, revision: str | None) -> NewBase:
    """Read config, tokenizer and weight sizes. Asks the hub for `hf:`. Raises: Refused."""
    if base_id is not None and not 0 < len(base_id) <= LONGEST_ID:
        raise Refused(f"an id has 1 to {LONGEST_ID} characters")
    scheme, _, location = source.partition(":")
    if scheme not in SCHEMES or not location:
        raise Refused(f"{source!r} is no source; write hf:org/name, file:/folder or gguf:/file")
    if scheme != "hf":
        if revision is not None:
            raise Refused("a revision belongs to a base on the hub (hf:org/name)")
        source = f"{scheme}:{Path(location).expanduser().resolve()}"
    facts = _of_hub(location, revision) if scheme == "hf" else inspect(source)
    spec = BaseSpec(
        id=base_id or default_id(location, is_file=scheme == "gguf"),
        source=source,
        revision=facts.revision,
        weight_digest=None,
        chat_template=None,
        shape=facts.shape,
    )
    length = usual_seq_len(facts.shape)
    base = CatalogueBase(
        spec=spec,
        license=facts.license,
        quantizations=facts.quantizations,
        max_seq_len=length,
        target_modules=facts.target_modules,
    )
    return NewBase(facts, base)


def default_id(location: str, *, is_file: bool) -> str:
    """The last part of the location in lower case, with nothing in it that a name on a command line should not have."""
    path = Path(location)
    return re.sub(r"[^a-z0-9._-]+", "-", (path.stem if is_file else path.name).lower()).strip("-") or "base"


def write_into(path: Path, new: NewBase) -> None:
    """Add the entry to the catalogue at `path`. Raises: CatalogueError, and then the file is as it was."""
    document = Document.of(path)
    load_catalogue(path)
    if any(item["id"] == new.base.id for item in document.value["bases"]):
        raise CatalogueError(path, [Finding(document.line("bases"), "bases", f"{new.base.id!r} is listed already")])
    changed = _with_entry(document, new)
    wanted = document.value | {"bases": [*document.value["bases"], new.entry]}
    if yaml.safe_load(changed) != wanted:
        where = Finding(document.line("bases"), "bases", "is written so that no entry can be added; add it by hand")
        raise CatalogueError(path, [where])
    _replace(path.resolve(), changed)


def _of_hub(repository: str, revision: str | None) -> BaseFacts:
    found = fetch(repository, revision)
    facts = facts_of(found.folder, found.shapes)
    return replace(facts, license=found.license, revision=found.commit)


def _with_entry(document: Document, new: NewBase) -> str:
    bases = document.child("bases")
    assert isinstance(bases, yaml.SequenceNode)  # noqa: S101  # the catalogue has been read as valid
    text = document.text
    if bases.flow_style:
        head = text[: bases.end_mark.index - 1].rstrip()  # before the bracket
        comma = " " if head.endswith(",") else ", "
        return f"{head}{comma}{json.dumps(new.entry, ensure_ascii=False)}{text[len(head) :]}"
    lines = text.splitlines(keepends=True)
    after = _last_line(bases) + 1
    if not lines[after - 1].endswith("\n"):
        lines[after - 1] += "\n"
    indent = " " * bases.start_mark.column
    added = [indent + line for line in new.text.splitlines(keepends=True)]
    return "".join((*lines[:after], *added, *lines[after:]))


def _last_line(node: yaml.Node) -> int:
    """Of the content itself: a block's own end mark comes only after the comments and blank lines behind it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return int(node.end_mark.line) - (node.end_mark.column == 0)
    return int(node.end_mark.line)


def _replace(path: Path, text: str) -> None:
    """In one step, so that a process that starts meanwhile reads the old file or the new one."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as draft:
        draft.write(text)
        draft.flush()
        os.fsync(draft.fileno())
    target = Path(draft.name)
    target.chmod(path.stat().st_mode & 0o777)
    target.replace(path)
