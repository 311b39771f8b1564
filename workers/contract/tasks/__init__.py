"""Tasks: what a model is taught to do. One file each: the rows it takes, what it counts, what it reports.

`workers.tasks` has the same names with torch. To add one, see "How to add a task" in ARCHITECTURE.md.
"""

from typing import Annotated

from workers.contract.tasks.causal_lm import CausalLm
from workers.contract.tasks.task import TASKS, TaskSpec

Task = Annotated[TaskSpec, TASKS]
"""Any registered task, told apart by `type`; without one it is `causal_lm`."""

__all__ = ["TASKS", "CausalLm", "Task", "TaskSpec"]
