"""`messages`: OpenAI's chat rows."""

import json
from typing import Any, ClassVar

from workers.contract.row_check import refuse_constant
from workers.contract.rows import DatasetFormat
from workers.formats.conversion import BadRow, Conversion
from workers.formats.shapes.messages import convert_messages
from workers.formats.shapes.shape import has_keys, ignore_others

TOOL_KEYS = frozenset({"tools", "functions", "parallel_tool_calls"})


class Chat:
    """`{"messages": [...], "tools"?: [...]}`, with the former `functions` and `function_call` too."""

    name: ClassVar = "chat"
    format: ClassVar = DatasetFormat.CHAT
    required: ClassVar = frozenset({"messages"})
    optional: ClassVar = TOOL_KEYS
    hints: ClassVar = required

    def has(self, row: dict[str, Any]) -> bool:
        """Whether it has messages."""
        return has_keys(row, self.required)

    def convert(self, row: dict[str, Any], to: Conversion) -> dict[str, Any]:
        """The same, in today's spelling."""
        ignore_others(row, self.required | self.optional, to)
        messages = row.get("messages")
        if isinstance(messages, list):
            messages = convert_messages(messages, to, "messages")
        return with_tools({"messages": messages} if "messages" in row else {}, row, to)


def with_tools(converted: dict[str, Any], row: dict[str, Any], to: Conversion, path: str = "") -> dict[str, Any]:
    """`converted` with the tools of `row`, which lies at `path` in what was sent. Raises: BadRow."""
    functions, tools = row.get("functions"), _list_of(row.get("tools"), f"{path}tools")
    if functions is not None:
        if tools is not None:
            raise BadRow(f"{path}functions", "ambiguous_tools", "functions and tools say the same; keep one of them")
        functions = _list_of(functions, f"{path}functions")
        to.moved("tools", f"{path}functions")
        to.note("functions", "functions are read as tools")
        tools = (
            [{"type": "function", "function": each} for each in functions] if isinstance(functions, list) else functions
        )
    elif path:
        to.moved("tools", f"{path}tools")
    if tools is not None:
        converted["tools"] = tools
    if (parallel := row.get("parallel_tool_calls")) is not None:
        converted["parallel_tool_calls"] = parallel
    return converted


def _list_of(value: Any, path: str) -> Any:
    """Tools are often kept as JSON text, since tables have no column for values of many types."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=refuse_constant) if value.strip() else None
    except (ValueError, RecursionError):
        raise BadRow(path, "invalid_json", "the text is not valid JSON") from None
