"""Checks one line of a data set: JSON, its bounds, its characters, its model. Upload and host ask the same.

The bounds come before the model, and no list of problems is ever longer than they allow: a line of 8 MB may hold four
million wrong items, and naming each would take gigabytes.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Final, cast

from pydantic import ValidationError

from workers.contract.rows import ROW_MODELS, ChatMessage, DatasetFormat, Row, RowIssue, row_issues

MAX_ROW_BYTES: Final = 8 * 2**20
"""Of one line. Far beyond any context length."""
MAX_MESSAGES: Final = 10_000
"""Of one chat row."""
MAX_TOOLS: Final = 128
MAX_TOOL_CALLS: Final = 128
"""Of one message."""
MAX_FIELDS: Final = 64
"""Of an object whose fields have a meaning here; schemas of tools and arguments of calls may have more."""
MAX_VALUES: Final = 100_000
"""JSON values of one row, with those in the arguments of its calls."""
MAX_ROW_ISSUES: Final = 20
"""Problems told of one row."""

MESSAGE_LISTS: Final = frozenset(
    {"messages", "conversations", "history", "functions", "prompt", "completion", "chosen", "rejected"}
    | {f"{kind}_{name}" for kind in ("preferred", "non_preferred") for name in ("output", "completion")}
)
"""Keys under which a row of some shape has a list with an entry for each message or turn."""

BOUNDED_LISTS: Final = dict.fromkeys(MESSAGE_LISTS, MAX_MESSAGES) | {"tools": MAX_TOOLS}
"""Lists of a row and how long they may be."""

_MIN_VALUE_BYTES: Final = 2
"""A value and what separates it from the next."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""The escape of half a character, alone or in a pair. Raw UTF-8 cannot spell one."""


def parse_row(line: int, content: bytes) -> dict[str, Any] | RowIssue:
    """The JSON object of a line, or the issue with it. The file may begin with a byte order mark."""
    content = content.removeprefix(codecs.BOM_UTF8) if line == 1 else content
    try:
        row = json.loads(content.decode("utf-8"), parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        message = f"File is not UTF-8 encoded: byte {error.start + 1} of the line is 0x{content[error.start]:02x}"
        return RowIssue(line=line, code="not_utf8", message=message)
    except json.JSONDecodeError as error:
        return RowIssue(line=line, code="invalid_json", message=f"not valid JSON: {error.msg} (column {error.colno})")
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition(";")[0]
        return RowIssue(line=line, code="invalid_json", message=f"not valid JSON: {reason}")
    if not isinstance(row, dict):
        kind = type(row).__name__
        return RowIssue(line=line, code="not_an_object", message=f"expected a JSON object, found a JSON {kind}")
    return row


def check_bounds(line: int, row: dict[str, Any], content: bytes | None) -> RowIssue | None:
    """What the row has too much of, or a character that none can take. `content`: its JSON, if it was any.

    It may be asked of a row of any shape: lists of messages are known by their names.
    """
    found = _excess(row, content) or _half_character(row, content)
    if found is None:
        return None
    field, code, message = found
    return RowIssue(line=line, field=field, code=code, message=message)


def check_row(line: int, format: DatasetFormat, row: dict[str, Any], content: bytes | None) -> Row | list[RowIssue]:
    """The row of `content`, which `parse_row` has read, or what is wrong with it: at most `MAX_ROW_ISSUES`."""
    issue = check_bounds(line, row, content)
    return check_model(line, format, row) if issue is None else [issue]


def check_model(line: int, format: DatasetFormat, row: dict[str, Any]) -> Row | list[RowIssue]:
    """The row, which is within its bounds, or what is wrong with it: at most `MAX_ROW_ISSUES`."""
    try:
        return ROW_MODELS[format].model_validate(row)
    except ValidationError as error:
        return _listed(line, row, row_issues(line, error))[:MAX_ROW_ISSUES]


Found = tuple[str | None, str, str]
"""Field, code and message of an issue."""


def _excess(row: dict[str, Any], content: bytes | None) -> Found | None:
    """What the row has too much of, if anything."""
    for name in row.keys() & BOUNDED_LISTS.keys():
        if (found := _too_many(row, name, BOUNDED_LISTS[name], name)) is not None:
            return found
    if len(row) > MAX_FIELDS:
        return _too_many_fields(None, row)
    for path, message in _messages(row):
        if (found := _excess_of_message(path, message)) is not None:
            return found
    if (content is None or len(content) > MAX_VALUES * _MIN_VALUE_BYTES) and _is_crowded(row):
        return None, "too_many_values", f"the row has more than {MAX_VALUES:,} JSON values; split it, or shorten it"
    return None


def _excess_of_message(path: str, message: dict[str, Any]) -> Found | None:
    if len(message) > MAX_FIELDS:
        return _too_many_fields(path, message)
    if "tool_calls" not in message:
        return None
    if (found := _too_many(message, "tool_calls", MAX_TOOL_CALLS, f"{path}.tool_calls")) is not None:
        return found
    for number, call in _members(message["tool_calls"]):
        for part, owner in (
            (f"{path}.tool_calls.{number}", call),
            (f"{path}.tool_calls.{number}.function", call.get("function")),
        ):
            if isinstance(owner, dict) and len(owner) > MAX_FIELDS:
                return _too_many_fields(part, owner)
    return None


def _too_many(owner: dict[str, Any], name: str, limit: int, field: str) -> Found | None:
    items = owner[name]
    if not isinstance(items, list) or len(items) <= limit:
        return None
    what = "messages" if limit == MAX_MESSAGES else name
    message = f"{len(items):,} {what.replace('_', ' ')}, but at most {limit:,} are allowed; split the row"
    return field, f"too_many_{what}", message


def _too_many_fields(path: str | None, owner: dict[str, Any]) -> Found:
    return path, "too_many_fields", f"{len(owner):,} fields, but at most {MAX_FIELDS} are allowed"


def _messages(row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every message with its path, in the order of the row."""
    for name, items in row.items():
        if name in MESSAGE_LISTS:
            for index, message in _members(items):
                yield f"{name}.{index}", message


def _members(items: object) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a list, with their places in it."""
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            yield index, item


def _is_crowded(row: dict[str, Any]) -> bool:
    return any(number > MAX_VALUES for number, _ in enumerate(_values(row), start=1))


def _half_character(row: dict[str, Any], content: bytes | None) -> Found | None:
    """The first string with half a character. No tokenizer takes it, and no database either."""
    if content is not None and _SURROGATE.search(content) is None:
        return None
    for path, value in _values(row):
        if isinstance(value, str) and not _is_whole(value):
            message = "a \\ud800-\\udfff escape is half of a character, without its other half; was the text cut there?"
            return path or None, "string_unicode", message
    return None


def _is_whole(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _values(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every value and every key of the row with its path, in the order of the text; also those in arguments of calls,
    which are JSON again. Lazy, for the row may hold millions. A stack, for it may nest deeper than Python calls.
    """
    stack = [iter([("", cast(Any, row))])]
    while stack:
        for path, value in stack[-1]:
            yield path, value
            if isinstance(value, dict | list):
                stack.append(_children(path, value))
                break
            if isinstance(value, str) and path.endswith(".function.arguments"):
                for _, inner in _values({"": _arguments(value)}):
                    yield path, inner
        else:
            stack.pop()


def _children(path: str, value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    start = f"{path}." if path else ""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield f"{start}{index}", item
        return
    for key, item in value.items():
        yield path, key
        yield start + key, item


def _arguments(text: str) -> Any:
    """What a template is given for the arguments of a call: JSON, or the string itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _listed(line: int, row: dict[str, Any], issues: list[RowIssue]) -> list[RowIssue]:
    """The models stop at a list's first bad item; list every bad message, until there are enough."""
    bad: list[RowIssue] = []
    for name in (each for each in row if each in MESSAGE_LISTS):
        items = row[name]
        for index, message in enumerate(items if isinstance(items, list) else ()):
            if len(bad) >= MAX_ROW_ISSUES:
                break
            try:
                ChatMessage.model_validate(message)
            except ValidationError as error:
                bad += row_issues(line, error, within=(name, index))
    # Without its bad items pydantic calls a list too short: an echo.
    told = {issue.field.split(".")[0] for issue in bad if issue.field}
    return [*bad, *(issue for issue in issues if (issue.field or "").split(".")[0] not in told)]


def refuse_constant(name: str) -> Any:
    """`parse_constant` of a JSON decoder. Raises ValueError: NaN and Infinity are no JSON."""
    raise ValueError(f"{name} is not JSON")
