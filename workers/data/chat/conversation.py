"""A chat row as chat templates take it."""

import json
from dataclasses import dataclass
from typing import Any

from workers.contract.rows import ChatRow, Role

Message = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """What a template is given."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None

    @classmethod
    def of(cls, row: ChatRow) -> "Conversation":
        """The row without weights and unset fields, call arguments as objects where they are JSON."""
        plain = row.model_dump(mode="json", exclude_none=True)
        return cls([_plain(message) for message in plain["messages"]], plain.get("tools") or None)

    @property
    def has_calls(self) -> bool:
        """Whether a message calls a tool."""
        return any(message.get("tool_calls") for message in self.messages)

    def with_arguments_as_text(self) -> "Conversation":
        """The same with call arguments as JSON texts, as a few templates take them."""
        return Conversation([_as_text(message) for message in self.messages], self.tools)

    def assistants(self) -> list[int]:
        """The places of the assistant's messages."""
        return [index for index, message in enumerate(self.messages) if message["role"] == Role.ASSISTANT]


def _plain(message: Message) -> Message:
    message.pop("weight", None)
    message.setdefault("content", "")
    for call in message.get("tool_calls", ()):
        try:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        except ValueError:
            continue  # not JSON: the template renders the string unchanged
    return message


def _as_text(message: Message) -> Message:
    if not message.get("tool_calls"):
        return message
    calls = [
        {**call, "function": {**call["function"], "arguments": _text(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
