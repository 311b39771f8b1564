"""What conversations of one structure share: their layout, which of it carries loss, and what is left out.

Most files have few structures, so this is found out once for many rows. A row's own rendering must still be its layout.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from workers.data.chat.rendering import Marked, Rendering, Span
from workers.data.chat.skeleton import Layout, Place, Skeleton
from workers.data.chat.turns import Turns

Stretch = tuple[Place, Place]
"""From the first to behind the last."""


@dataclass(frozen=True)
class Structure:
    """By the first conversation of its kind."""

    skeleton: Skeleton
    text: str
    """Of the skeleton."""
    layout: Layout
    rendering: Rendering
    turns: Turns

    @classmethod
    def of(cls, skeleton: Skeleton, rendering: Rendering, turns: Turns) -> "Structure":
        """Renders the skeleton. Raises: TemplateMismatch."""
        text = rendering.text(skeleton.conversation)
        return cls(skeleton, text, Layout.of(text, len(skeleton.leaves)), rendering, turns)

    @cached_property
    def missing(self) -> frozenset[int]:
        """The leaves that the template does not print."""
        return frozenset(range(len(self.skeleton.leaves))) - frozenset(self.layout.order)

    @cached_property
    def learned(self) -> tuple[Stretch, ...]:
        """What carries loss. Raises: TemplateMismatch."""
        marked = self._marked
        return tuple(span for span, _ in self.turns_of_messages) if marked is None else marked

    @cached_property
    def learned_by_message(self) -> tuple[tuple[Stretch, int], ...]:
        """The same, each with the place of its message in the conversation. Raises: TemplateMismatch."""
        marked, assistants = self._marked, self.skeleton.conversation.assistants()
        if marked is None:
            return self.turns_of_messages
        if len(marked) == len(assistants):
            return tuple(zip(marked, assistants, strict=True))
        shared = [
            ((max(start, first), min(end, last)), message)
            for start, end in marked
            for (first, last), message in self.turns_of_messages
        ]
        return tuple((span, message) for span, message in shared if span[0] < span[1])

    @cached_property
    def turns_of_messages(self) -> tuple[tuple[Stretch, int], ...]:
        """The assistant's turns with the places of their messages. Raises: TemplateMismatch."""
        spans = self.turns.spans(self.skeleton, self.layout)
        return tuple(zip(spans, self.skeleton.conversation.assistants(), strict=True))

    @cached_property
    def stop(self) -> str:
        """What ends the last turn and is behind the template's own rendering."""
        return "" if self._marked is None or self._rendered_marks is None else self._rendered_marks.stop

    @cached_property
    def _rendered_marks(self) -> Marked | None:
        return self.rendering.marked(self.skeleton.documented, self.text)

    @cached_property
    def _marked(self) -> tuple[Stretch, ...] | None:
        """What the template or its twin marks. None: nobody marks this structure."""
        if self._rendered_marks is None:
            return None
        starts = [0, *(end for _, end in self.layout.marker_spans(self.text))]
        places = []
        for span in self._rendered_marks.spans:
            first, last = (self._place(at, starts) for at in span)
            if first is None or last is None:  # within a leaf: the template cuts it
                return None
            places.append((first, last))
        return tuple(places)

    def _place(self, at: int, starts: Sequence[int]) -> Place | None:
        number = bisect_right(starts, at) - 1
        offset = at - starts[number]
        is_last = number == len(self.layout.order)
        return (number, offset) if is_last or offset <= len(self.layout.fixed[number]) else None


def position(place: Place, leaves: Sequence[Span]) -> int:
    """Where the place lies in a text whose leaves lie at `leaves`."""
    number, offset = place
    return (leaves[number - 1][1] if number else 0) + offset
