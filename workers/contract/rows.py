"""Dataset rows: the three JSONL formats, one row model each, and the model of a row's issues.

A file has one format. Formats follow OpenAI's fine-tuning guide (chat, prompt/completion) and the plain
`{"text": …}` of continued pre-training.
"""

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from workers.contract.model import Frozen


class DatasetFormat(StrEnum):
    """The row model of a file."""

    CHAT = "chat"
    PROMPT_COMPLETION = "prompt_completion"
    TEXT = "text"


class Role(StrEnum):
    """The author of a chat message."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


# Lists stop at their first bad item, or one line would give as many errors as it has items;
# `workers.contract.row_check` lists the bad messages, up to a bound.


class FunctionCall(Frozen):
    """The function an assistant calls, its arguments as a JSON string."""

    name: str = Field(min_length=1)
    arguments: str


class ToolCall(Frozen):
    """One entry of an assistant's `tool_calls`."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(Frozen):
    """One turn. Tokens of assistant turns count for `weight` in the loss, 1 unless given."""

    role: Role
    content: str | None = None
    name: str | None = None
    weight: float | None = Field(None, ge=0, le=1, description="of its tokens in the loss; of other roles ignored")
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] | None = Field(None, fail_fast=True)
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _has_something_to_say(self) -> "ChatMessage":
        if self.content is None and not (self.role is Role.ASSISTANT and self.tool_calls):
            raise ValueError("content is missing; only an assistant message with tool_calls may leave it out")
        return self


class ChatRow(Frozen):
    """`{"messages": [...]}`: a conversation with at least one assistant turn that carries loss."""

    messages: tuple[ChatMessage, ...] = Field(min_length=1, fail_fast=True)
    tools: tuple[dict[str, Any], ...] | None = Field(None, fail_fast=True)
    parallel_tool_calls: bool | None = None

    @model_validator(mode="after")
    def _has_a_turn_to_learn(self) -> "ChatRow":
        if not any(m.role is Role.ASSISTANT for m in self.messages):
            raise ValueError("messages has no assistant message, so there is nothing to learn")
        if not any(m.role is Role.ASSISTANT and m.weight != 0 for m in self.messages):
            raise ValueError("every assistant message has weight 0, so there is nothing to learn")
        return self


class PromptCompletionRow(Frozen):
    """`{"prompt": ..., "completion": ...}`: loss on the completion."""

    prompt: str
    completion: str = Field(min_length=1)


class TextRow(Frozen):
    """`{"text": ...}`: loss on every token."""

    text: str = Field(min_length=1)


Row = ChatRow | PromptCompletionRow | TextRow

ROW_MODELS: dict[DatasetFormat, type[Row]] = {
    DatasetFormat.CHAT: ChatRow,
    DatasetFormat.PROMPT_COMPLETION: PromptCompletionRow,
    DatasetFormat.TEXT: TextRow,
}


class RowIssue(Frozen):
    """One problem of a row: its place, a stable code and a message."""

    line: int = Field(ge=1, description="line of the file, counted from 1")
    field: str | None = Field(None, description="dotted path inside the row, for example messages.2.role")
    code: str
    message: str


def detect_format(row: dict[str, Any]) -> DatasetFormat | None:
    """The format that the keys of `row` identify, or None."""
    if "messages" in row:
        return DatasetFormat.CHAT
    if "prompt" in row or "completion" in row:
        return DatasetFormat.PROMPT_COMPLETION
    if "text" in row:
        return DatasetFormat.TEXT
    return None


def row_issues(line: int, error: ValidationError, within: tuple[str | int, ...] = ()) -> list[RowIssue]:
    """Pydantic's errors for the part `within` the row on `line`, as issues. Values are never echoed."""
    return [
        RowIssue(
            line=line,
            field=".".join(str(part) for part in (*within, *detail["loc"])) or None,
            code=detail["type"],
            message=detail["msg"].removeprefix("Value error, "),
        )
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    ]
