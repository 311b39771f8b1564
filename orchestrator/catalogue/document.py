"""A YAML file as plain values that still know their lines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml


@dataclass(frozen=True)
class Finding:
    """What is wrong, in which field, at which line (from 1)."""

    line: int
    field: str
    message: str


class CatalogueError(Exception):
    """The catalogue file cannot be used. Says all that is wrong with it, one line each: `file:line: field: what`."""

    def __init__(self, path: Path, findings: Sequence[Finding]) -> None:
        self.path = path
        self.findings = tuple(findings)
        super().__init__("\n".join(f"{path}:{each.line}: {each.field}: {each.message}" for each in findings))


@dataclass(frozen=True)
class Document:
    """One YAML file."""

    text: str
    value: Any
    node: yaml.Node | None
    """None: the file is empty."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """Raises: CatalogueError when it cannot be read, or is no YAML."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CatalogueError(path, [Finding(1, "(file)", f"cannot be read: {error}")]) from error
        try:
            return cls.parse(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            said = str(getattr(error, "problem", None) or error)
            line = 1 if mark is None else mark.line + 1
            raise CatalogueError(path, [Finding(line, "(file)", f"is no YAML: {said}")]) from error

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises: yaml.YAMLError."""
        return cls(text, yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader))

    def repeated_keys(self) -> Iterator[Finding]:
        """Keys that a mapping has twice; YAML's readers keep the last one and say nothing."""
        nodes: list[tuple[str, yaml.Node | None]] = [("", self.node)]
        while nodes:
            path, node = nodes.pop()
            if isinstance(node, yaml.SequenceNode):
                nodes += [(f"{path}.{number}", item) for number, item in enumerate(node.value)]
            elif isinstance(node, yaml.MappingNode):
                seen: set[str] = set()
                for key, value in node.value:
                    inner = f"{path}.{key.value}"
                    if str(key.value) in seen:
                        yield Finding(key.start_mark.line + 1, inner.lstrip("."), "is written twice")
                    seen.add(str(key.value))
                    nodes.append((inner, value))

    def child(self, *location: str | int) -> yaml.Node | None:
        """The node at that place, if there is one."""
        node = self.node
        for part in location:
            node = _step(node, part)
        return node

    def line(self, *location: str | int) -> int:
        """Of that place, or of the innermost thing around it that is there."""
        if self.node is None:
            return 1
        node, line = self.node, self.node.start_mark.line
        for part in location:
            inner = _step(node, part)
            if inner is None:
                break
            node, line = inner, _start(node, part, inner)
        return line + 1


def _step(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == str(part)), None)
    return None


def _start(node: yaml.Node, part: str | int, inner: yaml.Node) -> int:
    """The line of the key that leads to `inner`, where there is one."""
    if isinstance(node, yaml.MappingNode):
        keys: list[yaml.Node] = [key for key, value in node.value if value is inner and key.value == str(part)]
        return int(keys[0].start_mark.line)
    return int(inner.start_mark.line)
