"""`prompt` and `completion`: as texts, or as the messages of a conversation."""

from typing import Any, ClassVar

from workers.contract.rows import DatasetFormat
from workers.formats.conversion import BadRow, Conversion
from workers.formats.shapes.chat import TOOL_KEYS, with_tools
from workers.formats.shapes.messages import convert_messages
from workers.formats.shapes.shape import has_keys, ignore_others

_KEYS = frozenset({"prompt", "completion"})


class PromptCompletion:
    """`{"prompt": "...", "completion": "..."}`."""

    name: ClassVar = "prompt_completion"
    format: ClassVar = DatasetFormat.PROMPT_COMPLETION
    required: ClassVar = _KEYS
    optional: ClassVar[frozenset[str]] = frozenset()
    hints: ClassVar = _KEYS

    def has(self, row: dict[str, Any]) -> bool:
        """Whether it has both, as texts."""
        return has_keys(row, _KEYS) and not _is_conversation(row)

    def convert(self, row: dict[str, Any], to: Conversion) -> dict[str, Any]:
        """The same."""
        ignore_others(row, _KEYS, to)
        return {key: value for key, value in row.items() if key in _KEYS}


class ConversationPair:
    """`{"prompt": [messages], "completion": [messages]}`, as in TRL."""

    name: ClassVar = "prompt_completion"
    format: ClassVar = DatasetFormat.CHAT
    required: ClassVar = _KEYS
    optional: ClassVar = TOOL_KEYS
    hints: ClassVar[frozenset[str]] = frozenset()

    def has(self, row: dict[str, Any]) -> bool:
        """Whether one of both is a list."""
        return has_keys(row, _KEYS) and _is_conversation(row)

    def convert(self, row: dict[str, Any], to: Conversion) -> dict[str, Any]:
        """A chat in which the completion's messages carry loss and those of the prompt do not."""
        ignore_others(row, self.required | self.optional, to)
        for key in ("prompt", "completion"):
            if not isinstance(row.get(key), list):
                raise BadRow(key, "list_type", "prompt and completion must both be texts, or both be lists of messages")
        before = len(row["prompt"])

        def place(index: int) -> str:
            return f"prompt.{index}" if index < before else f"completion.{index - before}"

        messages = convert_messages([*row["prompt"], *row["completion"]], to, "messages", place)
        messages = [*map(_unlearned, messages[:before]), *messages[before:]]
        to.note(
            "converted", "prompt and completion are read as one chat, of which the completion's messages carry loss"
        )
        return with_tools({"messages": messages}, row, to)


def _is_conversation(row: dict[str, Any]) -> bool:
    return any(isinstance(row.get(key), list) for key in _KEYS)


def _unlearned(message: Any) -> Any:
    is_assistant = isinstance(message, dict) and message.get("role") == "assistant"
    return message | {"weight": 0} if is_assistant else message
