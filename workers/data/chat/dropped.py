"""What a chat template leaves out of a row, and whether the row may be trained without it."""

from collections.abc import Collection

from workers.contract.spec import OnDropped
from workers.data.chat.skeleton import Leaf, Skeleton
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


def accepted(skeleton: Skeleton, missing: Collection[int], on_dropped: OnDropped) -> tuple[str, ...]:
    """The fields of which leaves are `missing`, where the row may be trained without them.

    A `name` may always be missing. So may the reasoning of turns before the last of the assistant: templates leave it
    out as they do when the model answers. Raises: DroppedByTemplate.
    """
    if not missing:
        return ()
    partly_shown = {leaf.path for number, leaf in enumerate(skeleton.leaves) if leaf.part and number not in missing}
    shown = {leaf.path for number, leaf in enumerate(skeleton.leaves) if number not in missing}
    last = max(skeleton.conversation.assistants(), default=-1)
    fields: dict[str, None] = {}
    for number in sorted(missing):
        leaf = skeleton.leaves[number]
        if isinstance(leaf.value, str) and not leaf.value.strip():
            continue  # it says nothing
        field = _widest(leaf.path, shown)
        if on_dropped is OnDropped.ERROR and not _by_design(leaf, last, partly_shown):
            raise DroppedByTemplate(field)
        fields[field] = None
    return tuple(fields)


def _widest(path: str, shown: Collection[str]) -> str:
    """The field of which nothing is shown, be it `tools` or one of its descriptions."""
    parts = path.split(".")
    for length in range(1 if parts[0] == "tools" else 3, len(parts)):  # messages.N.field
        above = ".".join(parts[:length])
        if not any(other == above or other.startswith(f"{above}.") for other in shown):
            return above
    return path


def _by_design(leaf: Leaf, last_assistant: int, partly_shown: set[str]) -> bool:
    if leaf.message is None:
        return False
    if leaf.path == f"messages.{leaf.message}.name":
        return True
    is_reasoning = leaf.path.endswith(".reasoning_content") or (leaf.part and leaf.path in partly_shown)
    return is_reasoning and leaf.message < last_assistant
