"""Pauses: where work on rows may wait for its turn, or stop."""

from collections.abc import Callable

Pause = Callable[[], object]
"""Called between short pieces of work on rows, also within one row. It may wait. Raises Abandoned."""


class Abandoned(Exception):
    """Nobody needs the rows any more."""


def no_pause() -> None:
    """Go on."""
