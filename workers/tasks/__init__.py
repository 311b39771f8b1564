"""Tasks with torch: how a base is loaded for one, how rows become batches, the loss, and what is exported.

May import: `workers.contract`, `workers.data`, torch, transformers. Not the engine, nor any lane.

The registry has the keys of `workers.contract.tasks` (a test holds them equal). To add one, see "How to add a task" in
ARCHITECTURE.md.
"""

from workers.tasks import causal_lm as _causal_lm  # noqa: F401  # registers itself
from workers.tasks.task import TASKS, TrainableTask

__all__ = ["TASKS", "TrainableTask"]
