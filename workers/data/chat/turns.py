"""Finds what the assistant says in a rendering that does not mark it.

A turn lies between its header, which the generation prompt prints too, and the end of what closes it.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from workers.data.chat.conversation import Conversation, Message
from workers.data.chat.rendering import Rendering, Span
from workers.data.chat.skeleton import Layout, Skeleton
from workers.data.tokens import TemplateMismatch

_QUESTION: Final[Message] = {"role": "user", "content": "Qx0z"}
_ANSWER: Final[Message] = {"role": "assistant", "content": "Qx1z"}


class Turns:
    """The assistant's turns in the renderings of one template."""

    def __init__(self, rendering: Rendering, special_tokens: Sequence[str]) -> None:
        self._rendering = rendering
        self._special_tokens = tuple(special_tokens)
        self._header: str | None = None
        self._endings: dict[str, str | None] = {}

    def spans(self, skeleton: Skeleton, layout: Layout, places: Sequence[Span], length: int) -> list[Span]:
        """One span for each assistant message, in order. `places` are those of `layout.order` in a text of `length`.

        Raises: TemplateMismatch.
        """
        return [self._span(index, skeleton, layout, places, length) for index in skeleton.conversation.assistants()]

    def _span(self, index: int, skeleton: Skeleton, layout: Layout, places: Sequence[Span], length: int) -> Span:
        own = [at for at, leaf in enumerate(layout.order) if skeleton.leaves[leaf].message == index]
        if not own:
            raise _unproven(index, "the chat template prints nothing of it")
        first = last = own[0]
        while last + 1 in own and layout.order[last + 1] not in layout.order[first : last + 1]:
            last += 1
        if {layout.order[at] for at in own} != set(layout.order[first : last + 1]):  # tools may repeat their names
            raise _unproven(index, "the chat template prints other messages within it")
        before, behind = layout.fixed[first], layout.fixed[last + 1]
        ends = places[last][1] + len(self._ending(index, skeleton, behind))
        return places[first][0] - len(self._opening(index, before)), min(ends, length)

    def _opening(self, index: int, before: str) -> str:
        """What of the fixed text before a turn's first leaf is the turn's: that behind its header."""
        header = self._learn_header()
        at = before.rfind(header)
        if at >= 0:
            return before[at + len(header) :]
        # The turn goes on behind what a tool said: no header, but a token that ends the tool's words.
        if before.endswith(self._special_tokens):
            return ""
        raise _unproven(index, "the generation prompt does not come before it")

    def _ending(self, index: int, skeleton: Skeleton, behind: str) -> str:
        """What of the fixed text behind a turn's last leaf is the turn's: up to the end of what closes it."""
        closing = self._closing(skeleton.conversation.messages[index])
        if closing is None:
            raise _unproven(index, "the chat template does not render it alone")
        closes = _shared(closing, behind)
        if closes and closes.rstrip() == closing.rstrip():
            return closes
        if not closing:  # a turn without an end of its own is ended by the beginning of the next one
            return next((token for token in self._special_tokens if behind.startswith(token)), "")
        stops = [closes.rindex(token) + len(token) for token in self._special_tokens if token in closes]
        if stops:  # more closes the last turn, but both end with the same token
            rest = closes[max(stops) :]
            return closes[: len(closes) - len(rest.lstrip())]
        raise _unproven(index, "it is closed in another way than at the end of a conversation")

    def _learn_header(self) -> str:
        """What opens an answer, both in the generation prompt and in the rendering of an answer."""
        if self._header is None:
            asked = Conversation([_QUESTION], None)
            alone, prompt = self._rendering.text(asked), self._rendering.text(asked, prompt=True)
            header = prompt.removeprefix(alone)
            for more in ((), (_QUESTION,)):  # templates may open the last answer in another way
                answered = self._rendering.text(Conversation([_QUESTION, _ANSWER, *more], None))
                opened, _, _ = answered.removeprefix(alone).partition(str(_ANSWER["content"]))
                header = _shared(header, opened)
            if not header or not prompt.startswith(alone):
                raise TemplateMismatch(
                    "the chat template has no generation prompt, so the assistant's tokens cannot be found; mark them "
                    "with {% generation %} in the base's chat_template"
                )
            self._header = header
        return self._header

    def _closing(self, message: Message) -> str | None:
        """What a conversation that ends with this message has behind its last leaf. None: it has no rendering alone."""
        key = repr(message)
        if key not in self._endings:
            try:
                text = self._rendering.text(Conversation([_QUESTION, message], None))
            except TemplateMismatch:
                self._endings[key] = None
            else:
                self._endings[key] = Layout.of(text, 10**9).fixed[-1]
        return self._endings[key]


def _shared(one: str, other: str) -> str:
    """What both begin with."""
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _unproven(index: int, reason: str) -> TemplateMismatch:
    error = TemplateMismatch(
        f"the tokens of message {index} cannot be told from the others: {reason}; mark the assistant's turns with "
        "{% generation %} in the base's chat_template"
    )
    error.field = f"messages.{index}"
    return error
