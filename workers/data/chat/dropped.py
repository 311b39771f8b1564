"""What a chat template leaves out of a row, and whether the row may be trained without it."""

from collections.abc import Iterable, Sequence

from workers.contract.spec import OnDropped
from workers.data.chat.skeleton import Leaf
from workers.data.tokens import UnusableRow


class DroppedByTemplate(UnusableRow):
    """A part of the row does not reach the rendering."""

    code = "dropped_by_template"

    def __init__(self, field: str) -> None:
        super().__init__(
            f"the base's chat template leaves {field} out, so the row would train on less than it says; use a base "
            'whose template shows it, take it out of the row, or set on_dropped to "warn"'
        )
        self.field = field


def accepted(
    leaves: Sequence[Leaf], shown: Iterable[int], last_assistant: int, on_dropped: OnDropped
) -> tuple[str, ...]:
    """The fields that are left out, where the row may be trained without them.

    A `name` may always be missing. So may the reasoning of turns before the last of the assistant: templates leave it
    out as they do when the model answers. Raises: DroppedByTemplate.
    """
    seen = set(shown)
    whole = {leaf.path for number, leaf in enumerate(leaves) if leaf.part and number in seen}
    fields: dict[str, None] = {}
    for number, leaf in enumerate(leaves):
        if number in seen or leaf.value == "" or (isinstance(leaf.value, str) and not leaf.value.strip()):
            continue
        fields[leaf.path] = None
        if on_dropped is OnDropped.ERROR and not _by_design(leaf, last_assistant, whole):
            raise DroppedByTemplate(leaf.path)
    return tuple(fields)


def _by_design(leaf: Leaf, last_assistant: int, partly_shown: set[str]) -> bool:
    if leaf.message is None:
        return False
    if leaf.path == f"messages.{leaf.message}.name":
        return True
    is_reasoning = leaf.path.endswith(".reasoning_content") or (leaf.part and leaf.path in partly_shown)
    return is_reasoning and leaf.message < last_assistant
