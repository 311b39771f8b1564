"""Which characters of a rendered conversation come from which part of the row. Proven, not guessed.

The skeleton is the same conversation with a marker in place of each text and number. What the template makes of it is
fixed text with markers between. The real rendering must be that fixed text with the real values between; this is
checked to the last character. A part whose marker is missing has not reached the rendering.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from workers.contract.rows import Role
from workers.data.chat.conversation import Conversation, Message
from workers.data.chat.rendering import Span

_FIRST_NUMBER: Final = 917_000_000
_MARKER: Final = re.compile(r"[Qq][Xx](\d+)[Zz]|917(\d{6})(?:\.5)?(?!\d)")  # a template may change its case
_MAX_NUMBERS: Final = 1_000_000
_CONDITIONS: Final = re.compile(
    r"""(?:"([^"\n]{2,40})"|'([^'\n]{2,40})')\s+(?:not\s+)?in\s"""
    r"""|\b(?:split|rsplit|partition|startswith|endswith|find|replace)\(\s*(?:"([^"\n]{2,40})"|'([^'\n]{2,40})')"""
)
"""Texts that a template looks for in contents."""


Place = tuple[int, int]
"""A character of the n-th fixed text of a layout, counted from its first; behind its last is the leaf that follows."""


@dataclass(frozen=True)
class Leaf:
    """A text or number of a conversation that a template may print."""

    path: str
    """Where it stands in the row, for example `messages.1.tool_calls.0.function.arguments`."""
    message: int | None
    """The place of its message; None: it belongs to a tool's definition."""
    value: str | int | float
    part: bool = False
    """Whether it is a part of its content, which holds something that the template looks for."""


@dataclass(frozen=True)
class Skeleton:
    """A conversation of markers. `leaves[n]` has marker n."""

    conversation: Conversation
    leaves: tuple[Leaf, ...]
    documented: Conversation
    """With arguments as objects, as templates that mark turns take them."""

    def with_arguments_as_text(self) -> "Skeleton":
        """The same for templates that take arguments so."""
        return replace(self, conversation=self.documented.with_arguments_as_text())

    @property
    def key(self) -> str:
        """Equal for conversations that differ in the values of their leaves only."""
        return json.dumps([self.conversation.messages, self.conversation.tools], ensure_ascii=False)


@dataclass(frozen=True)
class Layout:
    """A rendered skeleton: `fixed[0]`, leaf `order[0]`, `fixed[1]`, leaf `order[1]`, …"""

    fixed: tuple[str, ...]
    order: tuple[int, ...]

    @classmethod
    def of(cls, text: str, leaves: int) -> "Layout":
        """Split at the markers of so many leaves."""
        fixed, order, end = [], [], 0
        for marker in _MARKER.finditer(text):
            leaf = int(marker[1] or marker[2])
            if leaf < leaves:
                fixed.append(text[end : marker.start()])
                order.append(leaf)
                end = marker.end()
        return cls((*fixed, text[end:]), tuple(order))

    def marker_spans(self, text: str) -> list[Span]:
        """Where the markers of `order` lie in the rendered skeleton."""
        spans, end = [], 0
        for before in self.fixed[:-1]:
            start = end + len(before)
            end = next(_MARKER.finditer(text, start)).end()
            spans.append((start, end))
        return spans

    def places(self, text: str, leaves: Sequence[Leaf]) -> list[Span] | None:
        """Where each of `order` lies in `text`. None: `text` is not this layout with the values of `leaves`."""
        found: list[Span] = []
        place = len(self.fixed[0])
        if not text.startswith(self.fixed[0]):
            return None
        for leaf, follows in zip(self.order, self.fixed[1:], strict=True):
            for shown in _spellings(leaves[leaf].value):
                end = place + len(shown)
                if text.startswith(shown, place) and text.startswith(follows, end):
                    break
            else:
                return None
            found.append((place, end))
            place = end + len(follows)
        return found if place == len(text) else None


class Skeletons:
    """Makes the skeletons of one template's conversations."""

    def __init__(self, template: str, plain: Collection[str] = ()) -> None:
        """`plain`: what is mere text where a row has it, even if the template looks for it."""
        found = {next(filter(None, match)) for match in _CONDITIONS.findall(template)}
        texts = {text.replace("\\n", "\n") for text in found} - set(plain)
        looked_for = sorted((text for text in texts if not text.isalnum() and text.strip()), key=len, reverse=True)
        self._looked_for = re.compile("|".join(map(re.escape, looked_for)) or "(?!)")

    def of(self, conversation: Conversation) -> Skeleton:
        """The skeleton of `conversation`."""
        leaves: list[Leaf] = []
        messages = [self._message(index, message, leaves) for index, message in enumerate(conversation.messages)]
        tools = None
        if conversation.tools is not None:
            tools = [_tool(f"tools.{index}", tool, leaves) for index, tool in enumerate(conversation.tools)]
        skeleton = Conversation(messages, tools)
        return Skeleton(skeleton, tuple(leaves), skeleton)

    def _message(self, index: int, message: Message, leaves: list[Leaf]) -> Message:
        path, known = f"messages.{index}", len(leaves)
        marked = dict(message)
        for field in ("name", "reasoning_content"):
            if message.get(field):
                marked[field] = _mark(Leaf(f"{path}.{field}", index, message[field]), leaves)
        if message.get("tool_calls"):
            marked["tool_calls"] = [
                _call(f"{path}.tool_calls.{number}.function", index, call, leaves)
                for number, call in enumerate(message["tool_calls"])
            ]
        content: str = message["content"]
        if content.strip() or (message["role"] == Role.ASSISTANT and len(leaves) == known):
            marked["content"] = self._content(f"{path}.content", index, content, leaves)
        return marked

    def _content(self, path: str, index: int, content: str, leaves: list[Leaf]) -> str:
        """The content with its texts marked; what the template looks for stays."""
        kept = [*self._looked_for.finditer(content)]
        if not kept:
            return _mark(Leaf(path, index, content), leaves)
        marked: str = ""
        end = 0
        for found in [*kept, None]:
            piece = content[end : found.start() if found else None]
            marked += _mark(Leaf(path, index, piece, part=True), leaves) if piece.strip() else piece
            marked += found[0] if found else ""
            end = found.end() if found else end
        return marked


def form_of(message: Message) -> str:
    """What a skeleton's message has in common with those that differ from it in their markers alone."""
    return _MARKER.sub(lambda marker: "<text>" if marker[1] else "<number>", repr(message))


def _call(path: str, index: int, call: dict[str, Any], leaves: list[Leaf]) -> dict[str, Any]:
    function = call["function"]
    name = _mark(Leaf(f"{path}.name", index, function["name"]), leaves)
    arguments = _inner(f"{path}.arguments", index, function["arguments"], leaves)
    return {**call, "function": {**function, "name": name, "arguments": arguments}}


def _inner(path: str, index: int, value: Any, leaves: list[Leaf]) -> Any:
    """Arguments of a call, or a part of them, with texts and numbers marked; keys stay."""
    if isinstance(value, dict):
        return {key: _inner(path, index, item, leaves) for key, item in value.items()}
    if isinstance(value, list):
        return [_inner(path, index, item, leaves) for item in value]
    if isinstance(value, bool) or value is None or value == "":
        return value
    return _marked_value(Leaf(path, index, value), leaves)


def _tool(path: str, value: Any, leaves: list[Leaf]) -> Any:
    """A tool's definition with its name and its descriptions marked. Types and names of parameters steer templates.

    What lies in `parameters` has their path.
    """
    if isinstance(value, list):
        return [_tool(path, item, leaves) for item in value]
    if not isinstance(value, dict):
        return value
    marked = {}
    inside = path.endswith(".parameters")
    for key, item in value.items():
        place = path if inside else f"{path}.{key}"
        is_said = key == "description" or (key == "name" and not inside)
        if is_said and isinstance(item, str) and item.strip():
            marked[key] = _mark(Leaf(place, None, item), leaves)
        else:
            marked[key] = _tool(place, item, leaves)
    return marked


def _marked_value(leaf: Leaf, leaves: list[Leaf]) -> str | int | float:
    """A marker of the value's own type: templates ask for it."""
    if isinstance(leaf.value, str) or len(leaves) >= _MAX_NUMBERS:
        return _mark(leaf, leaves)
    number = _FIRST_NUMBER + len(leaves)
    leaves.append(leaf)
    return number + 0.5 if isinstance(leaf.value, float) else number


def _mark(leaf: Leaf, leaves: list[Leaf]) -> str:
    leaves.append(leaf)
    return f"Qx{len(leaves) - 1}z"


def _spellings(value: str | int | float) -> Iterator[str]:
    """How templates print a value."""
    if not isinstance(value, str):
        yield from dict.fromkeys((json.dumps(value), str(value)))
        return
    yield value
    cut = dict.fromkeys(
        (
            value,
            value.strip(),
            value.lstrip(),
            value.rstrip(),
            value.strip("\n"),
            value.lstrip("\n"),
            value.rstrip("\n"),
        )
    )
    yield from cut
    for text in cut:
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield json.dumps(text)[1:-1]
        yield repr(text)[1:-1]
