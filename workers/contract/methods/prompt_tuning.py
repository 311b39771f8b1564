"""Prompt tuning: a prompt of trained embeddings (arXiv 2104.08691)."""

from typing import ClassVar, Literal

from workers.contract.base import BaseShape
from workers.contract.methods.method import METHODS
from workers.contract.methods.prompts import VirtualTokens


@METHODS.register
class PromptTuning(VirtualTokens):
    """Embeddings [n_tokens, hidden] before each row, which begin as those of random words of the base."""

    type: Literal["prompt_tuning"] = "prompt_tuning"

    title: ClassVar[str] = "Prompt tuning"
    peft_type: ClassVar[str] = "PROMPT_TUNING"

    def trained(self, shape: BaseShape) -> int:
        """The embeddings."""
        return self.n_tokens * shape.hidden_size
