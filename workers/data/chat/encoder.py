"""Encodes chat rows: one rendering, one tokenization, and which of the tokens carry loss."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from workers.contract.rows import ChatRow
from workers.contract.spec import TextOptions
from workers.data.chat.conversation import Conversation
from workers.data.chat.dropped import accepted
from workers.data.chat.rendering import Rendering, Span
from workers.data.chat.skeleton import Layout, Skeleton, Skeletons
from workers.data.chat.tokenizing import Tokenizing, Weighted, weights_of
from workers.data.chat.turns import Turns
from workers.data.pausing import Pause, no_pause
from workers.data.tokens import TemplateMismatch, Tokens

_KEPT_LAYOUTS: Final = 512
"""Conversations of equal structure share a layout; most files have few structures."""


@dataclass(frozen=True)
class _Rendered:
    """A row as text, and what is known of it."""

    text: str
    conversation: Conversation
    """With arguments as objects, as templates that mark turns take them."""
    skeleton: Skeleton
    layout: Layout

    def places(self) -> list[Span] | None:
        """Where the leaves lie. None: the rendering is not that of the skeleton."""
        return self.layout.places(self.text, self.skeleton.leaves)


class ChatEncoder:
    """Of one base's tokenizer and template, with the options of a job."""

    def __init__(self, tokenizer: Any, template: str | None, options: TextOptions) -> None:
        self._options = options
        self._tokenizer = tokenizer
        self._template = template
        self._layouts: OrderedDict[str, Layout] = OrderedDict()

    def encode(self, row: ChatRow, pause: Pause = no_pause) -> Tokens:
        """Ids and weights of a conversation. `pause` is called between renderings.

        Raises: TemplateMismatch, DroppedByTemplate, SpecialTokenText, Abandoned.
        """
        self._prepare()
        pause()
        rendered = self._rendered(row)
        pause()
        leaves, assistants = rendered.skeleton.leaves, rendered.conversation.assistants()
        last = assistants[-1] if assistants else -1
        dropped = accepted(leaves, rendered.layout.order, last, self._options.on_dropped)
        spans = self._spans(row, rendered)
        pause()
        plain: Sequence[Span] = ()
        if self._tokenizing.spells_special_tokens([leaf.value for leaf in leaves if isinstance(leaf.value, str)]):
            plain = self._proven(rendered)
        ids, places = self._tokenizing.tokens(rendered.text, plain)
        return Tokens(ids, weights_of(places, spans), dropped)

    def _prepare(self) -> None:
        """At the first row: what needs a template is no error of a file without chat rows."""
        if hasattr(self, "_rendering"):
            return
        if not self._tokenizer.is_fast:
            raise TemplateMismatch(
                f"the base's tokenizer ({type(self._tokenizer).__name__}) does not tell which text a token comes from, "
                "so the assistant's tokens cannot be found; use prompt/completion rows, or a base with a fast tokenizer"
            )
        template = self._template or _own_template(self._tokenizer)
        self._skeletons = Skeletons(template)
        self._tokenizing = Tokenizing(self._tokenizer, self._options.special_tokens)
        rendering = Rendering(self._tokenizer, template, self._options)
        self._turns = Turns(rendering, self._tokenizing.special_tokens)
        self._rendering = rendering

    def _rendered(self, row: ChatRow) -> _Rendered:
        conversation = shown = Conversation.of(row)
        try:
            text = self._rendering.text(conversation)
        except TemplateMismatch:
            if not conversation.has_calls:
                raise
            as_text = conversation.with_arguments_as_text()
            try:
                text, shown = self._rendering.text(as_text), as_text
            except TemplateMismatch:
                text = self._rendering.text(conversation)  # raises what the documented form gives
        skeleton = self._skeletons.of(shown)
        return _Rendered(text, conversation, skeleton, self._layout(skeleton))

    def _layout(self, skeleton: Skeleton) -> Layout:
        key = skeleton.key
        layout = self._layouts.pop(key, None)
        if layout is None:
            layout = Layout.of(self._rendering.text(skeleton.conversation), len(skeleton.leaves))
        self._layouts[key] = layout
        if len(self._layouts) > _KEPT_LAYOUTS:
            self._layouts.popitem(last=False)
        return layout

    def _spans(self, row: ChatRow, rendered: _Rendered) -> list[Weighted]:
        weights = [row.messages[index].weight for index in rendered.conversation.assistants()]
        counted = [1.0 if weight is None else float(weight) for weight in weights]
        marked = self._rendering.marked_spans(rendered.conversation, rendered.text)
        if marked is not None and all(weight == 1 for weight in counted):
            return [(*span, 1.0) for span in marked]
        if marked is not None and len(marked) == len(counted):
            return [(*span, weight) for span, weight in zip(marked, counted, strict=True)]
        turns = self._turns.spans(rendered.skeleton, rendered.layout, self._proven(rendered), len(rendered.text))
        whole = [(*span, weight) for span, weight in zip(turns, counted, strict=True)]
        if marked is None:
            return whole
        return [
            (max(start, first), min(end, last), weight)
            for start, end in marked
            for first, last, weight in whole
            if max(start, first) < min(end, last)
        ]

    def _proven(self, rendered: _Rendered) -> list[Span]:
        places = rendered.places()
        if places is None:
            raise TemplateMismatch(
                "the chat template changes texts of this conversation, so the assistant's tokens cannot be told from "
                "the others; mark them with {% generation %} in the base's chat_template"
            )
        return places


def _own_template(tokenizer: Any) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise TemplateMismatch(
            "the base has no chat template; use prompt/completion rows, or set chat_template in the catalogue's entry"
        ) from error
