"""Renders conversations by a chat template, as `apply_chat_template` does."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, Final, NamedTuple

from workers.contract.spec import TextOptions
from workers.data.chat.conversation import Conversation
from workers.data.chat.families import marked_twin
from workers.data.tokens import TemplateMismatch

Span = tuple[int, int]
"""Characters of a rendered text: from the first to behind the last."""

_NOW: Final = re.compile(r"""strftime_now\(\s*(?:"([^"]*)"|'([^']*)')""")


class Marked(NamedTuple):
    """What is marked as the assistant's."""

    spans: list[Span]
    """In order."""
    stop: str
    """What ends the last turn and is not in the template's own rendering."""


class Rendering:
    """One template with the arguments of a job."""

    def __init__(self, tokenizer: Any, template: str, options: TextOptions, special_tokens: Sequence[str] = ()) -> None:
        self._special_tokens = tuple(special_tokens)
        self._arguments = {**tokenizer.special_tokens_map, **options.chat_template_kwargs}
        self._template = _on_the_day(template, options.created_on)
        twin = marked_twin(template)
        self._marked = None if twin is None else _on_the_day(twin, options.created_on)

    def text(self, conversation: Conversation, *, prompt: bool = False) -> str:
        """The conversation as the model sees it; with `prompt`, up to where the assistant goes on.

        Raises: TemplateMismatch.
        """
        return self._rendered(self._template, conversation, prompt=prompt)[0]

    def marked(self, conversation: Conversation, text: str) -> Marked | None:
        """What the template, or its twin in trl, marks as the assistant's in `text`.

        None: nobody marks it, or the twin renders another text.
        """
        if self._marked is None:
            return None
        try:
            marked, spans = self._rendered(self._marked, conversation, marks=True)
        except TemplateMismatch:
            return None
        stop = marked.removeprefix(text)
        if marked == text:
            return Marked([self._with_stop(text, span) for span in spans], "")
        # GLM's stop token is the header of the next message. Behind the last answer its twin alone prints it.
        if marked.startswith(text) and stop in self._special_tokens and spans and spans[-1][1] == len(marked):
            return Marked([self._with_stop(marked, span) for span in spans], stop)
        return None

    def _with_stop(self, text: str, span: Span) -> Span:
        """The span with the special token right behind it, if it ends without one: a model has to learn to stop."""
        start, end = span
        if start == end or text[start:end].rstrip().endswith(self._special_tokens):
            return span
        stop = next((token for token in self._special_tokens if text.startswith(token, end)), "")
        return start, end + len(stop)

    def _rendered(
        self, template: str, conversation: Conversation, *, prompt: bool = False, marks: bool = False
    ) -> tuple[str, list[Span]]:
        from transformers.utils.chat_template_utils import render_jinja_template

        with refusals_named():
            texts, spans = render_jinja_template(
                conversations=[conversation.messages],
                tools=conversation.tools,
                chat_template=template,
                return_assistant_tokens_mask=marks,
                add_generation_prompt=prompt,
                **self._arguments,
            )
        return texts[0], [tuple(span) for span in spans[0]] if marks else []


def _on_the_day(template: str, day: date | None) -> str:
    """The template with `strftime_now` of `day`, so that every attempt of a job renders the same."""
    formats = {one or other for one, other in _NOW.findall(template)}
    if day is None or not formats:
        return template
    choices = "".join(f"{{% if format == {form!r} %}}{day.strftime(form)}{{% endif %}}" for form in sorted(formats))
    return f"{{% macro strftime_now(format) %}}{choices}{{% endmacro +%}}{template}"


@contextmanager
def refusals_named() -> Iterator[None]:
    """Turns the errors of a template into TemplateMismatch: its own rejection, a filter on a value of the wrong type,
    nesting that is too deep, or a missing template.
    """
    from jinja2.exceptions import TemplateError

    try:
        yield
    except TemplateMismatch:
        raise
    except RecursionError as error:
        raise TemplateMismatch("this conversation is nested too deeply for the chat template") from error
    except (TemplateError, TypeError, ValueError) as error:
        reason = error.message if isinstance(error, TemplateError) else error
        raise TemplateMismatch(f"the chat template rejects this conversation: {reason}") from error
