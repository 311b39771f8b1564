"""Tokenizes a chat row, with a mask of the tokens that carry loss.

Templates that mark assistant turns with `{% generation %}` provide the mask. For others, the conversation is rendered
up to each message, and the text that a message adds is its own. This requires a template that renders message by
message. It is verified for every row: a rendering that does not extend the previous one raises `TemplateMismatch`
instead of training on the wrong tokens.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from workers.contract.rows import ChatMessage, ChatRow, Role
from workers.data.pausing import Pause, no_pause
from workers.data.tokens import TemplateMismatch, Tokens


def encode_chat(tokenizer: Any, template: str | None, row: ChatRow, pause: Pause = no_pause) -> Tokens:
    """Token ids and loss mask of a conversation. `pause` is called before each rendering.

    Raises: TemplateMismatch, Abandoned.
    """
    if not tokenizer.is_fast:
        raise TemplateMismatch(
            f"the base's tokenizer ({type(tokenizer).__name__}) does not tell which text a token comes from, so the "
            "assistant's tokens cannot be found; use prompt/completion rows, or a base with a fast tokenizer"
        )
    with _refusals_named():
        used = template or tokenizer.get_chat_template()
        messages = [_plain(message) for message in row.messages]
    weighted = all(message.weight != 0 for message in row.messages)
    if marks_turns(used):
        if weighted:
            return _marked_by_template(tokenizer, used, messages, row.tools)
        return _marked_with_weights(tokenizer, used, row, messages, pause)
    spans = _assistant_spans(tokenizer, used, row, messages, pause)
    pause()
    return _from_spans(tokenizer, _render(tokenizer, used, messages, row.tools), spans)


def marks_turns(template: str) -> bool:
    """Whether the template marks the assistant's turns itself."""
    return "{% generation" in template or "{%- generation" in template


def _marked_by_template(tokenizer: Any, template: str, messages: list[dict[str, Any]], tools: Any) -> Tokens:
    with _refusals_named():
        encoded = tokenizer.apply_chat_template(
            messages,
            tools=list(tools) if tools else None,
            chat_template=template,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
    return Tokens(list(encoded["input_ids"]), [float(flag) for flag in encoded["assistant_masks"]])


def _marked_with_weights(
    tokenizer: Any, template: str, row: ChatRow, messages: list[dict[str, Any]], pause: Pause
) -> Tokens:
    """The template's mask without the turns of weight 0, which are masked by the position of their text."""
    ids, mask, _ = _marked_by_template(tokenizer, template, messages, row.tools)
    spans = _assistant_spans(tokenizer, template, row, messages, pause)
    pause()
    weighted_ids, weighted_mask, _ = _from_spans(tokenizer, _render(tokenizer, template, messages, row.tools), spans)
    if ids != weighted_ids:
        raise TemplateMismatch(
            "the chat template gives other tokens when rendered as text, so message weights cannot be applied"
        )
    return Tokens(ids, [min(pair) for pair in zip(mask, weighted_mask, strict=True)])


def _assistant_spans(
    tokenizer: Any, template: str, row: ChatRow, messages: list[dict[str, Any]], pause: Pause
) -> list[tuple[int, int]]:
    """Character ranges of assistant turns with weight 1 in the rendered text, without their headers."""
    whole = _render(tokenizer, template, messages, row.tools)
    spans: list[tuple[int, int]] = []
    for index, message in enumerate(row.messages):
        if message.role is not Role.ASSISTANT or message.weight == 0:
            continue
        pause()
        start = _extent(tokenizer, template, messages[:index], row.tools, whole, prompt=True)
        pause()
        end = _extent(tokenizer, template, messages[: index + 1], row.tools, whole, prompt=False)
        spans.append((start, end))
    return spans


def _extent(
    tokenizer: Any, template: str, messages: Sequence[dict[str, Any]], tools: Any, whole: str, *, prompt: bool
) -> int:
    """Length of the rendering of `messages`, which must be a prefix of the whole conversation's rendering."""
    part = _render(tokenizer, template, messages, tools, prompt=prompt) if messages or prompt else ""
    if not whole.startswith(part):
        raise TemplateMismatch(
            f"the chat template renders message {len(messages)} differently when more messages follow, so the "
            "assistant's tokens cannot be identified; mark them with {% generation %} in the base's chat_template"
        )
    return len(part)


def _from_spans(tokenizer: Any, text: str, spans: Sequence[tuple[int, int]]) -> Tokens:
    """Tokenize the rendered text. A token carries loss when its first character is in a span."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    learned = bytearray(len(text) + 1)  # by character; a token may begin behind the last
    for start, end in spans:
        learned[start:end] = b"\1" * max(end - start, 0)
    return Tokens(list(encoded["input_ids"]), [float(learned[first]) for first, _ in encoded["offset_mapping"]])


def _render(
    tokenizer: Any, template: str, messages: Sequence[dict[str, Any]], tools: Any, *, prompt: bool = False
) -> str:
    with _refusals_named():
        return str(
            tokenizer.apply_chat_template(
                list(messages),
                tools=list(tools) if tools else None,
                chat_template=template,
                tokenize=False,
                add_generation_prompt=prompt,
            )
        )


@contextmanager
def _refusals_named() -> Iterator[None]:
    """Turns the errors of a template into TemplateMismatch: its own rejection, a filter on a value of the wrong type,
    nesting that is too deep, or a missing template.
    """
    from jinja2.exceptions import TemplateError

    try:
        yield
    except RecursionError as error:
        raise TemplateMismatch("this conversation is nested too deeply for the chat template") from error
    except (TemplateError, TypeError, ValueError) as error:
        reason = error.message if isinstance(error, TemplateError) else error
        raise TemplateMismatch(f"the chat template rejects this conversation: {reason}") from error


def _plain(message: ChatMessage) -> dict[str, Any]:
    """The message as templates expect it: no weight, no unset fields, call arguments as objects."""
    content = message.model_dump(mode="json", exclude_none=True, exclude={"weight"})
    content.setdefault("content", "")
    for call in content.get("tool_calls", ()):
        try:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        except ValueError:
            continue  # not JSON: the template renders the string unchanged
    return content
