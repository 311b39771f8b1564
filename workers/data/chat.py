"""From a chat row to tokens with a mask of those that carry loss.

Templates that mark assistant turns with `{% generation %}` tell the mask themselves. For all others the mask is found
by rendering the conversation up to each message: what a message adds to the text is its own. That holds for templates
that render message by message, and is verified for every row: a rendering that does not extend the one before it
raises `TemplateMismatch` instead of training on the wrong tokens.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from workers.contract.rows import ChatMessage, ChatRow, Role

Tokens = tuple[list[int], list[bool]]
"""Token ids [T] and, for each, whether loss falls on it [T]."""


class TemplateMismatch(ValueError):
    """The chat template cannot render this conversation, or not in a way that shows whose tokens are whose."""


def encode_chat(tokenizer: Any, template: str | None, row: ChatRow) -> Tokens:
    """Token ids and loss mask of a conversation. Raises TemplateMismatch."""
    with _refusals_named():
        used = template or tokenizer.get_chat_template()
        messages = [_plain(message) for message in row.messages]
    weighted = all(message.weight != 0 for message in row.messages)
    if "{% generation" in used or "{%- generation" in used:
        if weighted:
            return _marked_by_template(tokenizer, used, messages, row.tools)
        return _marked_with_weights(tokenizer, used, row, messages)
    spans = _assistant_spans(tokenizer, used, row, messages)
    return _from_spans(tokenizer, _render(tokenizer, used, messages, row.tools), spans)


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
    return list(encoded["input_ids"]), [bool(flag) for flag in encoded["assistant_masks"]]


def _marked_with_weights(tokenizer: Any, template: str, row: ChatRow, messages: list[dict[str, Any]]) -> Tokens:
    """As the template marks them, less the turns of weight 0: those are masked by where their text lies."""
    ids, mask = _marked_by_template(tokenizer, template, messages, row.tools)
    spans = _assistant_spans(tokenizer, template, row, messages)
    weighted_ids, weighted_mask = _from_spans(tokenizer, _render(tokenizer, template, messages, row.tools), spans)
    if ids != weighted_ids:
        raise TemplateMismatch("the chat template tokenizes differently as text; message weights cannot be applied")
    return ids, [marked and weighted for marked, weighted in zip(mask, weighted_mask, strict=True)]


def _assistant_spans(
    tokenizer: Any, template: str, row: ChatRow, messages: list[dict[str, Any]]
) -> list[tuple[int, int]]:
    """Character ranges of the rendered text that assistant turns with weight 1 fill, header excluded."""
    whole = _render(tokenizer, template, messages, row.tools)
    spans: list[tuple[int, int]] = []
    for index, message in enumerate(row.messages):
        if message.role is not Role.ASSISTANT or message.weight == 0:
            continue
        start = _extent(tokenizer, template, messages[:index], row.tools, whole, prompt=True)
        end = _extent(tokenizer, template, messages[: index + 1], row.tools, whole, prompt=False)
        spans.append((start, end))
    return spans


def _extent(
    tokenizer: Any, template: str, messages: Sequence[dict[str, Any]], tools: Any, whole: str, *, prompt: bool
) -> int:
    """Length of the rendering of `messages`, which must begin the rendering of the whole conversation."""
    part = _render(tokenizer, template, messages, tools, prompt=prompt) if messages or prompt else ""
    if not whole.startswith(part):
        raise TemplateMismatch(
            f"the chat template renders message {len(messages)} differently when more messages follow, so the tokens "
            "of the assistant cannot be told apart; mark them with {% generation %} in the base's chat_template"
        )
    return len(part)


def _from_spans(tokenizer: Any, text: str, spans: Sequence[tuple[int, int]]) -> Tokens:
    """Tokenize the rendered text; a token carries loss when its first character lies in a span."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    mask = [any(start <= first < end for start, end in spans) for first, _ in encoded["offset_mapping"]]
    return list(encoded["input_ids"]), mask


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
    """Turns what a template raises over a conversation into TemplateMismatch: its own refusal, a filter that meets a
    value of another kind, nesting too deep to write out, or that there is no template at all.
    """
    from jinja2.exceptions import TemplateError

    try:
        yield
    except RecursionError as error:
        raise TemplateMismatch("this conversation is nested too deeply for the chat template") from error
    except (TemplateError, TypeError, ValueError) as error:
        reason = error.message if isinstance(error, TemplateError) else error
        raise TemplateMismatch(f"the chat template refuses this conversation: {reason}") from error


def _plain(message: ChatMessage) -> dict[str, Any]:
    """The message as templates expect it: no weight, no unset fields, call arguments as objects."""
    content = message.model_dump(mode="json", exclude_none=True, exclude={"weight"})
    content.setdefault("content", "")
    for call in content.get("tool_calls", ()):
        try:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        except ValueError:
            continue  # not JSON: the template shows the string as it is
    return content
