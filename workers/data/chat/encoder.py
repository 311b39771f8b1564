"""Encodes chat rows: one rendering, one tokenization, and which of the tokens carry loss."""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from workers.contract.rows import ChatRow, Role
from workers.contract.spec import TextOptions
from workers.data.chat.conversation import Conversation
from workers.data.chat.dropped import accepted
from workers.data.chat.rendering import Rendering, Span, refusals_named
from workers.data.chat.skeleton import Skeleton, Skeletons
from workers.data.chat.structure import Structure, position
from workers.data.chat.tokenizing import Tokenizing, Weighted, weights_of
from workers.data.chat.turns import Turns
from workers.data.tokens import TemplateMismatch, Tokens

_KEPT_STRUCTURES: Final = 512


class ChatEncoder:
    """Of one base's tokenizer and template, with the options of a job."""

    def __init__(self, tokenizer: Any, template: str | None, options: TextOptions) -> None:
        self._options = options
        self._tokenizer = tokenizer
        self._template = template
        self._structures: OrderedDict[str, Structure] = OrderedDict()

    def encode(self, row: ChatRow) -> Tokens:
        """Ids and weights of a conversation. Raises: TemplateMismatch, DroppedByTemplate, SpecialTokenText."""
        with refusals_named():
            self._prepare()
            text, skeleton = self._rendered(Conversation.of(row))
            structure = self._structure(skeleton)
        dropped = accepted(skeleton, structure.missing, self._options.on_dropped)
        places = structure.layout.places(text, skeleton.leaves)
        if places is None:
            spans, stop = self._marked(row, skeleton, text)
        else:
            spans, stop = _learned(row, structure, places), structure.stop
        text += stop
        self._tokenizing.require_plain(skeleton.key)
        typed: Sequence[Span] = ()
        if self._tokenizing.spells_special_tokens([leaf.value for leaf in skeleton.leaves]):
            typed = _proven(places)
        tokens = self._tokenizing.tokens(text, typed)
        return Tokens(tokens.ids, weights_of(tokens, text, spans, self._tokenizing.special_ids), dropped)

    def _prepare(self) -> None:
        """At the first row: what needs a template is no error of a file without chat rows."""
        if hasattr(self, "_turns"):
            return
        if not self._tokenizer.is_fast:
            raise TemplateMismatch(
                f"the base's tokenizer ({type(self._tokenizer).__name__}) does not tell which text a token comes from, "
                "so the assistant's tokens cannot be found; use prompt/completion rows, or a base with a fast tokenizer"
            )
        template = self._template or _own_template(self._tokenizer)
        self._tokenizing = Tokenizing(self._tokenizer, self._options.special_tokens)
        self._skeletons = Skeletons(template, self._tokenizing.plain)
        self._rendering = Rendering(self._tokenizer, template, self._options, self._tokenizing.special_tokens)
        self._turns = Turns(self._rendering, self._tokenizing.special_tokens)

    def _rendered(self, conversation: Conversation) -> tuple[str, Skeleton]:
        try:
            return self._rendering.text(conversation), self._skeletons.of(conversation)
        except TemplateMismatch as refused:
            if conversation.has_calls:
                with suppress(TemplateMismatch):
                    text = self._rendering.text(conversation.with_arguments_as_text())
                    return text, self._skeletons.of(conversation).with_arguments_as_text()
            raise refused

    def _structure(self, skeleton: Skeleton) -> Structure:
        key = skeleton.key
        structure = self._structures.pop(key, None) or Structure.of(skeleton, self._rendering, self._turns)
        self._structures[key] = structure
        if len(self._structures) > _KEPT_STRUCTURES:
            self._structures.popitem(last=False)
        return structure

    def _marked(self, row: ChatRow, skeleton: Skeleton, text: str) -> tuple[list[Weighted], str]:
        """What the template itself marks in a text that it changes in ways of its own, and what ends the last turn."""
        marked = self._rendering.marked(Conversation.of(row), text)
        weights = [_weight(row, message) for message in skeleton.conversation.assistants()]
        if marked is None or (len(marked.spans) != len(weights) and set(weights) != {1.0}):
            raise _unproven()
        if len(marked.spans) != len(weights):
            weights = [1.0] * len(marked.spans)
        return [(start, end, weight) for (start, end), weight in zip(marked.spans, weights, strict=True)], marked.stop


def _learned(row: ChatRow, structure: Structure, places: Sequence[Span]) -> list[Weighted]:
    """What carries loss in a text whose leaves lie at `places`."""
    if all(message.weight in (None, 1) or message.role is not Role.ASSISTANT for message in row.messages):
        return [(position(start, places), position(end, places), 1.0) for start, end in structure.learned]
    return [
        (position(start, places), position(end, places), _weight(row, message))
        for (start, end), message in structure.learned_by_message
    ]


def _weight(row: ChatRow, message: int) -> float:
    weight = row.messages[message].weight
    return 1.0 if weight is None else float(weight)


def _proven(places: Sequence[Span] | None) -> Sequence[Span]:
    if places is None:
        raise _unproven()
    return places


def _unproven() -> TemplateMismatch:
    return TemplateMismatch(
        "the chat template changes texts of this conversation, so the assistant's tokens cannot be told from "
        "the others; mark them with {% generation %} in the base's chat_template"
    )


def _own_template(tokenizer: Any) -> str:
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise TemplateMismatch(
            "the base has no chat template; use prompt/completion rows, or set chat_template in the catalogue's entry"
        ) from error
