"""P-tuning: a prompt of embeddings that a small network gives (arXiv 2103.10385)."""

from typing import ClassVar, Literal

from pydantic import Field, StrictInt

from workers.contract.base import BaseShape
from workers.contract.methods.method import METHODS
from workers.contract.methods.prompts import VirtualTokens


@METHODS.register
class PTuning(VirtualTokens):
    """Embeddings [n_tokens, hidden] through a network of two hidden layers, of which only the result is published."""

    type: Literal["p_tuning"] = "p_tuning"
    encoder_hidden_size: StrictInt = Field(128, ge=1, le=8192, description="width of the network")

    title: ClassVar[str] = "P-tuning"
    peft_type: ClassVar[str] = "P_TUNING"

    def trained(self, shape: BaseShape) -> int:
        """Embeddings and network: [n, d], d to h, h to h and h to d, with biases."""
        width, size = self.encoder_hidden_size, shape.hidden_size
        return self.n_tokens * size + (size + 1) * width + (width + 1) * width + (width + 1) * size
