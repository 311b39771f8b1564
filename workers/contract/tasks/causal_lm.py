"""Causal language modelling: predicting each token from those before it."""

from typing import ClassVar, Literal

from workers.contract.base import BaseShape
from workers.contract.rows import DatasetFormat
from workers.contract.tasks.task import TASKS, TaskSpec


@TASKS.register
class CausalLm(TaskSpec):
    """Loss is the negative log-likelihood of the supervised tokens, in nats a token, a mean by their weights."""

    type: Literal["causal_lm"] = "causal_lm"

    formats: ClassVar[frozenset[DatasetFormat]] = frozenset(
        {DatasetFormat.CHAT, DatasetFormat.PROMPT_COMPLETION, DatasetFormat.TEXT}
    )
    unit: ClassVar[str] = "token"
    metrics: ClassVar[tuple[str, ...]] = ("loss", "mean_token_accuracy")

    def fits(self, shape: BaseShape) -> bool:
        """A decoder can."""
        return shape.kind == "decoder"
