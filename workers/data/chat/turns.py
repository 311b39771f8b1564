"""Finds what the assistant says in a rendering that does not mark it.

A turn lies between its header, which the generation prompt prints too, and the end of what closes it.
"""

from collections.abc import Sequence
from contextlib import suppress
from os.path import commonprefix
from typing import Final

from workers.data.chat.conversation import Conversation, Message
from workers.data.chat.rendering import Rendering
from workers.data.chat.skeleton import Layout, Place, Skeleton, form_of
from workers.data.tokens import TemplateMismatch

_QUESTION: Final[Message] = {"role": "user", "content": "Qx0z"}
_ANSWER: Final[Message] = {"role": "assistant", "content": "Qx1z"}
_NOTHING: Final[Place] = (0, 0)


class Turns:
    """The assistant's turns in the renderings of one template."""

    def __init__(self, rendering: Rendering, special_tokens: Sequence[str]) -> None:
        self._rendering = rendering
        self._special_tokens = tuple(special_tokens)
        self._header: str | None = None
        self._endings: dict[str, str | None] = {}

    def spans(self, skeleton: Skeleton, layout: Layout) -> list[tuple[Place, Place]]:
        """One span for each assistant message, in order; empty for one that the template leaves out.

        Raises: TemplateMismatch.
        """
        own: dict[int | None, list[int]] = {}
        for at, leaf in enumerate(layout.order):
            own.setdefault(skeleton.leaves[leaf].message, []).append(at)
        return [self._span(index, own.get(index, []), skeleton, layout) for index in skeleton.conversation.assistants()]

    def _span(self, index: int, own: list[int], skeleton: Skeleton, layout: Layout) -> tuple[Place, Place]:
        """`own`: where in `layout.order` the leaves of the message are."""
        if not own:
            if any(leaf.message == index and leaf.value != "" for leaf in skeleton.leaves):
                return _NOTHING, _NOTHING  # the job accepts that the template leaves it out
            raise _unproven(index, "the chat template prints nothing of it")
        first = last = own[0]
        while last + 1 in own and layout.order[last + 1] not in layout.order[first : last + 1]:
            last += 1
        if {layout.order[at] for at in own} != set(layout.order[first : last + 1]):  # tools may repeat their names
            raise _unproven(index, "the chat template prints other messages within it")
        before, behind = layout.fixed[first], layout.fixed[last + 1]
        begins = len(before) - len(self._opening(index, before))
        return (first, begins), (last + 1, len(self._ending(index, skeleton, behind)))

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
        closes = self._common(closing, behind)
        if closes:
            return closes
        if not closing:  # a turn without an end of its own is ended by the beginning of the next one
            if behind.startswith(self._learn_header()):
                raise _unproven(index, "nothing ends it before another message of the assistant")
            return next((token for token in self._special_tokens if behind.startswith(token)), "")
        raise _unproven(index, "it is closed in another way than at the end of a conversation")

    def _common(self, closing: str, behind: str) -> str:
        """How a turn ends that is followed by `behind`, and at the end of a conversation with `closing`."""
        shared = commonprefix([closing, behind])  # noqa: RUF071 - of texts
        if shared.rstrip() == closing.rstrip():
            return shared
        stops = [shared.rindex(token) + len(token) for token in self._special_tokens if token in shared]
        rest = shared[max(stops, default=0) :]  # more closes a conversation, but both end with the same token
        return shared[: len(shared) - len(rest.lstrip())] if stops else ""

    def _learn_header(self) -> str:
        """What opens an answer, both in the generation prompt and in the rendering of an answer."""
        if self._header is None:
            asked = Conversation([_QUESTION], None)
            alone, prompt = self._behind_question(asked), self._behind_question(asked, prompt=True)
            start = len(self._common(alone, prompt))
            header = prompt[start:]
            for more in ((), (_QUESTION,)):  # templates may open the last answer in another way
                with suppress(TemplateMismatch):
                    answered = self._behind_question(Conversation([_QUESTION, _ANSWER, *more], None))
                    opened, _, _ = answered[start:].partition(str(_ANSWER["content"]))
                    header = commonprefix([header, opened])  # noqa: RUF071 - of texts
            if alone == prompt or not self._is_whole(header, prompt):
                raise TemplateMismatch(
                    "the chat template opens answers in another way than its generation prompt, so the assistant's "
                    "tokens cannot be found; mark them with {% generation %} in the base's chat_template"
                )
            self._header = header
        return self._header

    def _is_whole(self, header: str, prompt: str) -> bool:
        """Whether no part of the header is missing."""
        return bool(header) and (
            prompt.endswith(header) or header[-1].isspace() or header.endswith(self._special_tokens)
        )

    def _behind_question(self, conversation: Conversation, *, prompt: bool = False) -> str:
        text = self._rendering.text(conversation, prompt=prompt)
        return text.partition(str(_QUESTION["content"]))[2]

    def _closing(self, message: Message) -> str | None:
        """What a conversation that ends with this message has behind its last leaf. None: it has no rendering alone."""
        key = form_of(message)
        if key not in self._endings:
            try:
                text = self._rendering.text(Conversation([_QUESTION, message], None))
            except TemplateMismatch:
                self._endings[key] = None
            else:
                self._endings[key] = Layout.of(text, 10**9).fixed[-1]
        return self._endings[key]


def _unproven(index: int, reason: str) -> TemplateMismatch:
    error = TemplateMismatch(
        f"the tokens of message {index} cannot be told from the others: {reason}; mark the assistant's turns with "
        "{% generation %} in the base's chat_template"
    )
    error.field = f"messages.{index}"
    return error
