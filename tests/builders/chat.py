"""Chat rows, and what an encoder learns of them, in words."""

import json
from typing import Any

from workers.contract.rows import ChatRow
from workers.contract.spec import TextOptions
from workers.data.text_encoder import TextEncoder
from workers.data.tokens import Tokens


def says(role: str, content: str | None, **more: Any) -> dict[str, Any]:
    """One message."""
    return {"role": role, "content": content, **more}


def calls(*arguments: dict[str, Any], content: str | None = None, name: str = "add") -> dict[str, Any]:
    """An assistant's message with one call for each of the arguments."""
    made = [
        {"id": f"call_abcdef{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(given)}}
        for n, given in enumerate(arguments)
    ]
    return says("assistant", content, tool_calls=made)


def result(content: str, number: int = 0) -> dict[str, Any]:
    """What a tool answers to the call of this number."""
    return says("tool", content, tool_call_id=f"call_abcdef{number}")


ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds what it is given",
        "parameters": {"type": "object", "properties": {"n": {"type": "integer", "description": "how much"}}},
    },
}


def encode(tokenizer: Any, *messages: dict[str, Any], tools: Any = None, **options: Any) -> Tokens:
    """A conversation as tokens, with the options of a data spec."""
    row = ChatRow.model_validate({"messages": messages, "tools": tools})
    return TextEncoder(tokenizer, None, TextOptions.model_validate(options))(row)


def learned(tokenizer: Any, tokens: Tokens) -> str:
    """The text that carries loss, with `~` at each interruption."""
    spans: list[list[int]] = []
    before = False
    for token, weight in zip(tokens.ids, tokens.weights, strict=True):
        if weight and before:
            spans[-1].append(token)
        elif weight:
            spans.append([token])
        before = weight > 0
    return "~".join(tokenizer.decode(span) for span in spans)
