"""Messages of a chat in all their spellings: OpenAI's present and former ones, and those of the Hub's data sets."""

import json
from collections.abc import Callable
from typing import Any, Final, cast

from workers.formats.conversion import BadRow, Conversion

_PLAIN: Final = frozenset({"role", "content", "name", "weight", "tool_calls", "tool_call_id", "reasoning_content"})
"""Keys of the row model."""
_REASONING: Final = ("reasoning_content", "reasoning", "thinking")
_CONVERTED: Final = frozenset({"refusal", "function_call", *_REASONING})
_CALL: Final = frozenset({"id", "type", "function", "index"})
_ASSISTANT: Final = "assistant"


Places = Callable[[int], str]
"""Where the row as sent has the message of a number."""


def convert_messages(items: list[Any], to: Conversion, target: str, places: Places | None = None) -> list[Any]:
    """The messages as the row model has them; the same list if there is nothing to convert. Raises: BadRow.

    `target`: of the list in the converted row. `places`: if the row as sent has them elsewhere.
    """
    for index in range(len(items) if places else 0):
        to.moved(f"{target}.{index}", cast(Places, places)(index))
    if all(_is_plain(item) for item in items):
        return items
    messages = _Messages(to, target, places or (lambda index: f"{target}.{index}"))
    return [messages.convert(index, item) for index, item in enumerate(items)]


def _is_plain(item: Any) -> bool:
    return not isinstance(item, dict) or (
        item.keys() <= _PLAIN
        and isinstance(item.get("content", ""), str)
        and (item.get("role") == _ASSISTANT or "weight" not in item)
        and item.get("role") != "function"
        and "tool_calls" not in item
    )


class _Messages:
    def __init__(self, to: Conversion, target: str, places: Places) -> None:
        self._to = to
        self._target = target
        self._places = places
        self._open: list[str] = []  # ids of calls without a result

    def convert(self, index: int, item: Any) -> Any:
        if not isinstance(item, dict):
            return item
        path = self._places(index)
        role = item.get("role")
        message = {key: value for key, value in item.items() if key in _PLAIN and value is not None}
        for key, value in item.items():
            if key not in _PLAIN and key not in _CONVERTED and value is not None:
                self._to.unknown(f"{path}.{key}")
        if isinstance(message.get("content"), list):
            message["content"] = self._joined(message["content"], f"{path}.content")
        if role == _ASSISTANT:
            self._assistant(index, item, message, path)
        elif message.pop("weight", None) is not None:
            self._to.note("weight_ignored", "weight counts on assistant messages only; elsewhere it is ignored")
        if role in ("function", "tool"):  # compared, not looked up: it may be a list
            self._result(message, role, path)
        return message

    def _assistant(self, index: int, item: dict[str, Any], message: dict[str, Any], path: str) -> None:
        self._open = []
        reasoning = {
            item[key] if isinstance(item[key], str) else None for key in _REASONING if item.get(key) is not None
        }
        if len(reasoning) > 1 or None in reasoning:
            names = " and ".join(key for key in _REASONING if item.get(key) is not None)
            raise BadRow(path, "invalid_reasoning", f"{names} must be one text")
        if reasoning:
            message["reasoning_content"] = reasoning.pop()
        if (refusal := item.get("refusal")) is not None:
            self._refusal(refusal, message, path)
        if (call := item.get("function_call")) is not None:
            if "tool_calls" in message:
                raise BadRow(path, "ambiguous_calls", "function_call and tool_calls say the same; keep one of them")
            message["tool_calls"] = [{"type": "function", "function": call}]
            self._to.moved(f"{self._target}.{index}.tool_calls.0.function", f"{path}.function_call")
            self._to.note("function_call", "function_call is read as an entry of tool_calls")
        if isinstance(calls := message.get("tool_calls"), list):
            message["tool_calls"] = [self._call(index, number, call, path) for number, call in enumerate(calls)]
            if not calls:
                del message["tool_calls"]  # as some clients write messages without calls

    def _refusal(self, refusal: Any, message: dict[str, Any], path: str) -> None:
        if not isinstance(refusal, str):
            raise BadRow(f"{path}.refusal", "string_type", "Input should be a valid string")
        if message.get("content"):
            raise BadRow(f"{path}.refusal", "ambiguous_content", "content and refusal are both given; keep one of them")
        message["content"] = refusal
        self._to.note("refusal", "a refusal is learned as the content of its message")

    def _call(self, index: int, number: int, call: Any, path: str) -> Any:
        if not isinstance(call, dict):
            return call
        path = f"{path}.tool_calls.{number}"
        converted = {key: value for key, value in call.items() if key in _CALL - {"index"} and value is not None}
        for key, value in call.items():
            if key not in _CALL and value is not None:
                self._to.unknown(f"{path}.{key}")
        if "id" not in converted:
            converted["id"] = f"call_{index}_{number}"
            self._to.note("call_id", "calls without an id are given one, from the number of their message")
        if isinstance(function := converted.get("function"), dict):
            converted["function"] = self._function(function, f"{path}.function")
        if isinstance(converted["id"], str):
            self._open.append(converted["id"])
        return converted

    def _function(self, function: dict[str, Any], path: str) -> dict[str, Any]:
        arguments = function.get("arguments")
        converted = {key: function[key] for key in ("name", "arguments") if function.get(key) is not None}
        for key, value in function.items():
            if key not in {"name", "arguments"} and value is not None:
                self._to.unknown(f"{path}.{key}")
        if isinstance(arguments, dict):
            converted["arguments"] = json.dumps(arguments, ensure_ascii=False)
            self._to.note("arguments", "arguments of calls that are objects are written as JSON text")
        return converted

    def _result(self, message: dict[str, Any], role: str, path: str) -> None:
        """Of a call. A `function` message names no call; it answers the oldest open one."""
        known = message.get("tool_call_id")
        if role == "tool":
            if known in self._open:
                self._open.remove(known)
            elif known is None and self._open:
                message["tool_call_id"] = self._open.pop(0)
            return
        if not self._open:
            raise BadRow(path, "no_open_call", "a function message must follow the assistant's function_call")
        message |= {"role": "tool", "tool_call_id": self._open.pop(0)}
        self._to.note("function_role", "messages of the role function are read as results of tool calls")

    def _joined(self, parts: list[Any], path: str) -> Any:
        texts: list[str] = []
        for number, part in enumerate(parts):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in {"text", "refusal"} or not isinstance(part.get(kind), str):
                what = (
                    f"type '{kind[:40]}'" if isinstance(kind, str) and kind not in {"text", "refusal"} else "this form"
                )
                message = f"a content part of {what} is not text; only parts of type text can be learned here"
                raise BadRow(f"{path}.{number}", "unsupported_content", message)
            texts.append(part[kind])
        self._to.note("content_parts", "content given as parts of type text is joined to one text")
        return "".join(texts)
