"""Reads a job file from YAML, applies flags on top, and reports errors with their line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from api.cli.errors import CliError, ExitCode
from api.cli.job_file import JobFile

HEADER: Mapping[str, Any] = {"apiVersion": "orchard/v1", "kind": "FineTuneJob"}


def read_job(path: Path | None, overrides: Mapping[str, Any]) -> JobFile:
    """The job of `path` (None: an empty one) with `overrides` on top, keys such as `method.rank`. Raises CliError."""
    content, document = (dict(HEADER), None) if path is None else _load(path)
    for key, value in overrides.items():
        _place(content, key.split("."), value)
    try:
        return JobFile.model_validate(content)
    except ValidationError as error:
        found = [_complaint(path, document, detail["loc"], detail["msg"]) for detail in error.errors()]
        raise _invalid("; ".join(found)) from error


def _load(path: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    try:
        text = path.read_text(encoding="utf-8")
        document, content = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(f"{path} cannot be read: {error}") from error
    except RecursionError:
        raise _invalid(f"{path} is nested too deeply") from None
    except yaml.YAMLError as error:
        raise _invalid(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise _invalid(f"{path} does not contain a mapping of keys to values")
    return content, document


def _place(content: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        nested = content.get(key)
        content[key] = dict(nested) if isinstance(nested, dict) else {}
        content = content[key]
    content[keys[-1]] = value


def _complaint(path: Path | None, document: yaml.Node | None, loc: Sequence[int | str], message: str) -> str:
    field = ".".join(str(part) for part in loc) or "(top level)"
    if path is None or document is None:
        return f"{field}: {message}"
    return f"{path}:{_line(document, loc)}: {field}: {message}"


def _line(node: yaml.Node, loc: Sequence[int | str]) -> int:
    """The line, counted from 1, of the deepest part of `loc` that the document has."""
    line = node.start_mark.line
    for part in loc:
        child = _child(node, part)
        if child is None:
            break
        key, node = child
        line = key.start_mark.line
    return int(line) + 1


def _child(node: yaml.Node, part: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _invalid(message: str) -> CliError:
    hint = "orchard schema prints every field and its bounds"
    return CliError(message, code="invalid_job_file", hint=hint, exit_code=ExitCode.USAGE)
