"""`conversations`: ShareGPT's chats."""

import json
from typing import Any, ClassVar, Final

from workers.contract.row_check import refuse_constant
from workers.contract.rows import DatasetFormat
from workers.formats.conversion import BadRow, Conversion
from workers.formats.shapes.chat import TOOL_KEYS, with_tools
from workers.formats.shapes.messages import convert_messages
from workers.formats.shapes.shape import has_keys, ignore_others, text_of

_CALL: Final = "function_call"
_ROLES: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
    _CALL: "assistant",
    "observation": "tool",
    "tool": "tool",
    "tool_response": "tool",
    "function_response": "tool",
}
_TURN: Final = frozenset({"from", "value", "weight"})


class ShareGpt:
    """`{"conversations": [{"from": "human", "value": "..."}, ...], "system"?: "...", "tools"?: ...}`."""

    name: ClassVar = "sharegpt"
    format: ClassVar = DatasetFormat.CHAT
    required: ClassVar = frozenset({"conversations"})
    optional: ClassVar = frozenset({"system"}) | TOOL_KEYS
    hints: ClassVar = required

    def has(self, row: dict[str, Any]) -> bool:
        """Whether it has conversations."""
        return has_keys(row, self.required)

    def convert(self, row: dict[str, Any], to: Conversion) -> dict[str, Any]:
        """A chat. Human is the user, gpt the assistant, `function_call` a tool call, `observation` its result."""
        ignore_others(row, self.required | self.optional, to)
        turns = row.get("conversations")
        if not isinstance(turns, list):
            raise BadRow("conversations", "list_type", "Input should be a valid list")
        if not turns:
            raise BadRow("conversations", "too_short", "the conversation has no turn")
        system = text_of(row, "system")
        first = 1 if system else 0
        messages = [_message(turn, f"conversations.{index}") for index, turn in enumerate(turns)]
        if system:
            messages.insert(0, {"role": "system", "content": system})

        def place(index: int) -> str:
            return "system" if index < first else f"conversations.{index - first}"

        for index, turn in enumerate(turns, start=first):
            if isinstance(turn, dict) and "from" in turn:
                to.moved(f"messages.{index}.content", f"{place(index)}.value")
                to.moved(f"messages.{index}.role", f"{place(index)}.from")
        to.note("converted", "conversations are read as chats: human is the user, gpt the assistant")
        return with_tools({"messages": convert_messages(messages, to, "messages", place)}, row, to)


def _message(turn: Any, path: str) -> Any:
    if not isinstance(turn, dict) or ("from" not in turn and "role" in turn):
        return turn  # some keep OpenAI's messages under this key
    sender, value = turn.get("from"), turn.get("value")
    if sender is None:
        raise BadRow(f"{path}.from", "missing", "Field required")
    role = _ROLES.get(sender) if isinstance(sender, str) else None
    if role is None:
        raise BadRow(f"{path}.from", "unknown_role", f"expected one of {', '.join(_ROLES)}")
    if not isinstance(value, str):
        raise BadRow(f"{path}.value", "string_type", "Input should be a valid string")
    rest = {key: turn[key] for key in turn if key not in {"from", "value"}}  # weight, and what means nothing
    if sender == _CALL:
        return rest | {"role": role, "tool_calls": _calls(value, f"{path}.value")}
    return rest | {"role": role, "content": value}


def _calls(text: str, path: str) -> list[dict[str, Any]]:
    """The calls of a turn: one object of name and arguments, or a list of them."""
    try:
        found = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        found = None
    calls = found if isinstance(found, list) else [found]
    if not calls or not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        message = 'expected JSON text of a call, {"name": ..., "arguments": {...}}, or of a list of calls'
        raise BadRow(path, "invalid_function_call", message)
    return [{"type": "function", "function": call} for call in calls]
