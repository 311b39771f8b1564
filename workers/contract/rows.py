"""Dataset rows: their formats, one row model each, and the model of a row's issues.

A file has one format. Formats follow OpenAI's fine-tuning guide (chat, prompt/completion), the plain `{"text": …}` of
continued pre-training, and TRL (preference, KTO). `workers.formats` converts to these what people have.
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, StrictBool, Tag, ValidationError, model_validator

from workers.contract.model import Frozen


class DatasetFormat(StrEnum):
    """The row model of a file."""

    CHAT = "chat"
    PROMPT_COMPLETION = "prompt_completion"
    TEXT = "text"
    PREFERENCE = "preference"
    KTO = "kto"


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
    weight: float | None = Field(
        None, strict=True, ge=0, le=1, description="of its tokens in the loss; of other roles ignored"
    )
    tool_calls: tuple[ToolCall, ...] | None = Field(None, fail_fast=True)
    tool_call_id: str | None = None
    reasoning_content: str | None = None

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


def _is_list(value: Any) -> str:
    return "<messages>" if isinstance(value, list | tuple) else "<text>"


TextOrMessages = Annotated[
    Annotated[Annotated[str, Field(min_length=1)], Tag("<text>")]
    | Annotated[tuple[ChatMessage, ...], Field(min_length=1, fail_fast=True), Tag("<messages>")],
    Discriminator(_is_list),
]
"""A text, or a part of a conversation. `row_issues` leaves the tags out of the paths of fields."""


class _ToolsOfRow(Frozen):
    tools: tuple[dict[str, Any], ...] | None = Field(None, fail_fast=True)
    parallel_tool_calls: bool | None = None


class PreferenceRow(_ToolsOfRow):
    """`{"prompt": ..., "chosen": ..., "rejected": ...}`: of two answers, the one that is preferred."""

    prompt: TextOrMessages
    chosen: TextOrMessages
    rejected: TextOrMessages

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "PreferenceRow":
        if len({isinstance(part, str) for part in (self.prompt, self.chosen, self.rejected)}) > 1:
            raise ValueError("prompt, chosen and rejected must all be texts, or all be lists of messages")
        for answer in (self.chosen, self.rejected):
            _require_answer(answer)
        if self.chosen == self.rejected:
            raise ValueError("chosen and rejected are the same, so there is nothing to prefer")
        return self


class KtoRow(_ToolsOfRow):
    """`{"prompt": ..., "completion": ..., "label": ...}`: an answer that is wanted, or one that is not."""

    prompt: TextOrMessages
    completion: TextOrMessages
    label: StrictBool

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "KtoRow":
        if isinstance(self.prompt, str) != isinstance(self.completion, str):
            raise ValueError("prompt and completion must both be texts, or both be lists of messages")
        _require_answer(self.completion)
        return self


def _require_answer(answer: "str | tuple[ChatMessage, ...]") -> None:
    if not isinstance(answer, str) and not any(message.role is Role.ASSISTANT for message in answer):
        raise ValueError("an answer has no assistant message")


Row = ChatRow | PromptCompletionRow | TextRow | PreferenceRow | KtoRow

ROW_MODELS: dict[DatasetFormat, type[Row]] = {
    DatasetFormat.CHAT: ChatRow,
    DatasetFormat.PROMPT_COMPLETION: PromptCompletionRow,
    DatasetFormat.TEXT: TextRow,
    DatasetFormat.PREFERENCE: PreferenceRow,
    DatasetFormat.KTO: KtoRow,
}


_TAGS: Final = frozenset({"<text>", "<messages>"})


class RowIssue(Frozen):
    """One problem of a row: its place, a stable code and a message."""

    line: int = Field(ge=1, description="line of a JSONL file, row of any other; counted from 1")
    field: str | None = Field(None, description="dotted path inside the row, for example messages.2.role")
    code: str
    message: str


def row_issues(line: int, error: ValidationError, within: tuple[str | int, ...] = ()) -> list[RowIssue]:
    """Pydantic's errors for the part `within` the row on `line`, as issues. Values are never echoed."""
    return [
        RowIssue(
            line=line,
            field=".".join(str(part) for part in (*within, *detail["loc"]) if part not in _TAGS) or None,
            code=detail["type"],
            message=detail["msg"].removeprefix("Value error, "),
        )
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    ]
