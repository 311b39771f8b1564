"""Shapes of rows as people have them. To add one: a `Shape` in a file of its own, and its entry in `SHAPES`."""

from typing import Any, Final

from workers.formats.conversion import BadRow
from workers.formats.shapes.chat import Chat
from workers.formats.shapes.instructions import Alpaca, QueryResponse, QuestionAnswer
from workers.formats.shapes.pairs import ConversationPair, PromptCompletion
from workers.formats.shapes.preferences import Kto, OpenAiPreference, TrlPreference
from workers.formats.shapes.shape import Shape
from workers.formats.shapes.sharegpt import ShareGpt
from workers.formats.shapes.text import Text

SHAPES: Final[tuple[Shape, ...]] = (
    Chat(),
    PromptCompletion(),
    ConversationPair(),
    Text(),
    ShareGpt(),
    Alpaca(),
    QuestionAnswer(),
    QueryResponse(),
    OpenAiPreference(),
    TrlPreference(),
    Kto(),
)
"""The order counts only between hints at what a row was meant to be."""
SHAPE_NAMES: Final = tuple(dict.fromkeys(shape.name for shape in SHAPES))
"""What an owner may ask for with `format`."""
KNOWN_KEYS: Final = frozenset().union(*(shape.required | shape.optional for shape in SHAPES))
_SHOWN_KEYS: Final = 12


def named(name: str) -> tuple[Shape, ...]:
    """The shapes of that name; none if it is unknown."""
    return tuple(shape for shape in SHAPES if shape.name == name)


def shape_of(row: dict[str, Any], among: tuple[Shape, ...] = SHAPES, before: Shape | None = None) -> Shape:
    """The shape whose keys the row has. With all keys of none, the one that a single key hints at.

    `among`: those that may be. `before`: of the file's earlier rows. Raises: BadRow if it is of none, or of several.
    """
    if before is not None and row.keys() <= before.required | before.optional and before.has(row):
        return before  # no other shape is made of these keys alone
    found = [shape for shape in among if shape.has(row)]
    found = [shape for shape in found if not any(other.required > shape.required for other in found)]
    if len(found) == 1:
        return found[0]
    if found:
        names = sorted({shape.name for shape in found})
        message = (
            f"the keys fit {' and '.join(names)}; say which it is: give the upload a format, for example {names[0]}"
        )
        raise BadRow(None, "ambiguous_format", message)
    hinted = [shape for shape in among if not shape.hints.isdisjoint(row)]
    if among is not SHAPES:
        hinted = hinted or list(among)  # whose model says what is missing
    if hinted:
        return before if before in hinted else hinted[0]
    keys = ", ".join(str(key)[:40] for key in list(row)[:_SHOWN_KEYS]) or "none"
    raise BadRow(
        None,
        "unknown_format",
        "Unexpected file format, expected either prompt/completion pairs or chat messages (or text). The keys here "
        f"are: {keys}. Formats: {', '.join(SHAPE_NAMES)}.",
    )
