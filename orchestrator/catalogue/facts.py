"""`Facts`: what a base says of itself."""

from dataclasses import dataclass

from workers.contract.base import BaseShape


@dataclass(frozen=True)
class Facts:
    """Read from a base's files: what a catalogue entry need not repeat."""

    shape: BaseShape
    target_modules: tuple[str, ...]
    """Its linears, the usual ones first."""
    has_chat_template: bool
    """Without one, rows with `messages` are refused unless the catalogue gives a template."""
    license: str | None
    revision: str | None = None
    """The commit, of a base on the hub."""
