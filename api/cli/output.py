"""Output of commands: data on stdout as table, JSON or YAML; messages on stderr.

Whatever a tenant wrote, a terminal shows it and does not obey it: tables and messages have control characters and those
that change the direction of text escaped; JSON and YAML have them as escapes of their own, so that values stay exact.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from orchestrator.characters import escaped, escaped_lines, json_escaped

if TYPE_CHECKING:
    from pydantic import BaseModel


class Format(StrEnum):
    """Values of `-o`."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


FormatOption = Annotated[Format, typer.Option("-o", "--output", help="How to print the answer.")]

SHOWN_ISSUES = 100
ReportPath = Annotated[Path | None, typer.Argument(metavar="PATH", help="New file for the whole report, as JSONL.")]
IssueLimit = Annotated[int, typer.Option(min=1, help="How many problems to print.")]

Columns = Mapping[str, str]
"""Heading to dotted path inside the item, for example {"STATE": "x_orchard.state"}."""
UNIX_SECONDS = frozenset({"created", "estimated_finish", "since"})  # and every name in `_at`


def say(message: str) -> None:
    """Print a message on stderr."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(escaped_lines(message)))


def show_list(items: Sequence[BaseModel | Mapping[str, Any]], columns: Columns, output: Format) -> None:
    """Print a list of objects."""
    values = [_plain(item) for item in items]
    if output is not Format.TABLE:
        _dump(values, output)
        return
    headings = (Column(Text(name, style="bold")) for name in columns)
    table = Table(*headings, box=None, pad_edge=False, header_style="")
    for value in values:
        table.add_row(*(Text(escaped(_cell(value, path))) for path in columns.values()))
    _print_whole(table)


def show_one(item: BaseModel | Mapping[str, Any], output: Format) -> None:
    """Print one object; a table flattens nested fields to dotted names."""
    value = _plain(item)
    if output is not Format.TABLE:
        _dump(value, output)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, content in _flatten(value):
        table.add_row(Text(escaped(name), style="bold"), Text(escaped(content)))
    _print_whole(table)


def console() -> Console:
    """Standard output. A pipe gets wide lines, so that no cell is cut."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 240)


def _print_whole(table: Table) -> None:
    """Print at full width on any terminal: a truncated id cannot be copied."""
    out = Console(highlight=False, width=10_000)
    out.width = max(out.measure(table).maximum, 1)
    with out.capture() as captured:
        out.print(table)
    sys.stdout.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())


def _plain(item: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    plain: dict[str, Any] = to_jsonable_python(item)
    return plain


def _dump(value: Any, output: Format) -> None:
    sys.stdout.write(as_json(value, indent=2) + "\n" if output is Format.JSON else as_yaml(value))


def as_json(value: Any, indent: int | None = None) -> str:
    """The value as JSON, on one line unless `indent`. What acts on a terminal is escaped."""
    return json_escaped(json.dumps(value, indent=indent, ensure_ascii=False))


def as_yaml(value: Any) -> str:
    """The value as YAML. If anything of it acts on a terminal, all but ASCII is escaped."""
    import yaml

    readable = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return readable if readable == escaped_lines(readable) else yaml.safe_dump(value, sort_keys=False)


def _cell(value: Any, path: str) -> str:
    part = ""
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return _text(value, part)


def _text(value: Any, name: str = "") -> str:
    match value:
        case None:
            return "-"
        case int() if name in UNIX_SECONDS or name.endswith("_at"):
            return datetime.fromtimestamp(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        case float():
            return f"{value:.4g}"
        case list():
            return ", ".join(_text(item) for item in value) or "none"
        case dict():
            return " ".join(f"{key}={_text(item, key)}" for key, item in value.items()) or "-"
        case _:
            return str(value)


def _flatten(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, content in value.items():
        if isinstance(content, dict) and content:
            rows += _flatten(content, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, _text(content, name)))
    return rows
