"""Two answers of which one is preferred, in OpenAI's and TRL's spelling; and KTO, an answer that is liked or not."""

from typing import Any, ClassVar, Final

from workers.contract.rows import DatasetFormat
from workers.formats.conversion import BadRow, Conversion
from workers.formats.shapes.chat import TOOL_KEYS, with_tools
from workers.formats.shapes.messages import convert_messages
from workers.formats.shapes.shape import has_keys, ignore_others

_PREFERRED: Final = ("preferred_output", "preferred_completion")
_OTHER: Final = ("non_preferred_output", "non_preferred_completion")


class OpenAiPreference:
    """`{"input": {"messages": [...]}, "preferred_output": [...], "non_preferred_output": [...]}`."""

    name: ClassVar = "preference"
    format: ClassVar = DatasetFormat.PREFERENCE
    required: ClassVar = frozenset({"input", *_PREFERRED, *_OTHER})
    optional: ClassVar[frozenset[str]] = frozenset()
    hints: ClassVar = frozenset({*_PREFERRED, *_OTHER})

    def has(self, row: dict[str, Any]) -> bool:
        """Whether it has an input and both outputs; the guide and the API name them differently."""
        return row.get("input") is not None and all(any(row.get(key) is not None for key in names) for names in _BOTH)

    def convert(self, row: dict[str, Any], to: Conversion) -> dict[str, Any]:
        """TRL's spelling."""
        ignore_others(row, self.required, to)
        asked = row.get("input")
        if not isinstance(asked, dict):
            raise BadRow("input", "missing" if asked is None else "dict_type", 'expected {"messages": [...]}')
        for key, value in asked.items():
            if key not in {"messages", *TOOL_KEYS} and value is not None:
                to.unknown(f"input.{key}")
        places = {"chosen": _spelling(row, _PREFERRED), "rejected": _spelling(row, _OTHER)}
        values = {"prompt": asked.get("messages")} | {key: row.get(place) for key, place in places.items()}
        converted: dict[str, Any] = {}
        for key, value in values.items():
            place = places.get(key, "input.messages")
            if not isinstance(value, list):
                raise BadRow(place, "missing" if value is None else "list_type", "expected a list of messages")
            to.moved(key, place)
            converted[key] = _messages(value, to, key, place)
        return with_tools(converted, asked, to, "input.")


_BOTH: Final = (_PREFERRED, _OTHER)


def _spelling(row: dict[str, Any], names: tuple[str, ...]) -> str:
    given = [name for name in names if row.get(name) is not None]
    if len(given) > 1:
        raise BadRow(given[1], "ambiguous_output", f"{' and '.join(given)} say the same; keep one of them")
    return given[0] if given else names[0]


class TrlPreference:
    """`{"prompt"?: ..., "chosen": ..., "rejected": ...}`, all texts or all lists of messages."""

    name: ClassVar = "preference"
    format: ClassVar = DatasetFormat.PREFERENCE
    required: ClassVar = frozenset({"chosen", "rejected"})
    optional: ClassVar = frozenset({"prompt"}) | TOOL_KEYS
    hints: ClassVar = required

    def has(self, row: dict[str, Any]) -> bool:
        """Whether it has both answers."""
        return has_keys(row, self.required)

    def convert(self, row: dict[str, Any], to: Conversion) -> dict[str, Any]:
        """The same. A prompt that is not given is what both conversations begin with, as in TRL."""
        ignore_others(row, self.required | self.optional, to)
        parts: dict[str, Any] = {key: row[key] for key in ("prompt", "chosen", "rejected") if key in row}
        if parts.get("prompt") is None:
            parts = _without_common_start(row, to)
        converted: dict[str, Any] = {key: _messages(value, to, key, key) for key, value in parts.items()}
        return with_tools(converted, row, to)


class Kto:
    """`{"prompt": ..., "completion": ..., "label": true}`, both texts or both lists of messages."""

    name: ClassVar = "kto"
    format: ClassVar = DatasetFormat.KTO
    required: ClassVar = frozenset({"prompt", "completion", "label"})
    optional: ClassVar = TOOL_KEYS
    hints: ClassVar = frozenset({"label"})

    def has(self, row: dict[str, Any]) -> bool:
        """Whether it has all three."""
        return has_keys(row, self.required)

    def convert(self, row: dict[str, Any], to: Conversion) -> dict[str, Any]:
        """The same."""
        ignore_others(row, self.required | self.optional, to)
        if (label := row.get("label")) is not None and not isinstance(label, bool):
            message = 'expected true or false; if the rows are no KTO rows, give the format "prompt_completion"'
            raise BadRow("label", "bool_type", message)
        converted: dict[str, Any] = {key: row[key] for key in ("prompt", "completion", "label") if key in row}
        for key in ("prompt", "completion"):
            if key in converted:
                converted[key] = _messages(converted[key], to, key, key)
        return with_tools(converted, row, to)


def _messages(value: Any, to: Conversion, key: str, place: str) -> Any:
    """A list of messages in today's spelling; what else it is, as it is."""
    if not isinstance(value, list):
        return value
    return convert_messages(value, to, key, None if place == key else lambda index: f"{place}.{index}")


def _without_common_start(row: dict[str, Any], to: Conversion) -> dict[str, Any]:
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if not (isinstance(chosen, list) and isinstance(rejected, list)):
        raise BadRow("prompt", "missing", "Field required")
    shared = next(
        (number for number, pair in enumerate(zip(chosen, rejected, strict=False)) if pair[0] != pair[1]),
        min(len(chosen), len(rejected)),
    )
    if not shared:
        raise BadRow("prompt", "missing", "there is no prompt, and chosen and rejected begin with no common message")
    to.note("common_start", "rows without a prompt have as prompt the messages that chosen and rejected begin with")
    parts = {"prompt": chosen[:shared], "chosen": chosen[shared:], "rejected": rejected[shared:]}
    for index in range(shared):
        to.moved(f"prompt.{index}", f"chosen.{index}")
    for key in ("chosen", "rejected"):
        for index in range(len(parts[key])):
            to.moved(f"{key}.{index}", f"{key}.{index + shared}")
    return parts
