"""What every task says of itself without torch."""

from typing import ClassVar, Final

from workers.contract.base import BaseShape
from workers.contract.model import Frozen
from workers.contract.registry import Registry
from workers.contract.rows import DatasetFormat


class TaskSpec(Frozen):
    """The options of a task."""

    type: str
    formats: ClassVar[frozenset[DatasetFormat]]
    """The formats of files whose rows it learns from."""
    unit: ClassVar[str]
    """What is counted: token, image, second."""
    metrics: ClassVar[tuple[str, ...]]
    """Names of what is reported of a step, the loss first."""

    def fits(self, shape: BaseShape) -> bool:
        """Whether a base of this shape can learn it."""
        raise NotImplementedError


TASKS: Final[Registry[TaskSpec]] = Registry("task", default="causal_lm")
