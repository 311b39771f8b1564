"""What a base is: where its weights come from, in which precision it may be held, and how large it is."""

from enum import StrEnum
from typing import Final, Literal

from pydantic import Field

from workers.contract.model import Frozen


class Quantization(StrEnum):
    """How the frozen linears of a base are stored. Embeddings and norms stay in the compute dtype."""

    NF4 = "nf4"
    """4-bit NormalFloat in blocks of 64 (QLoRA, arXiv 2305.14314)."""
    INT8 = "int8"
    """8-bit rows with outlier columns in 16 bit (LLM.int8(), arXiv 2208.07339)."""
    NONE = "none"
    """Plain weights in the compute dtype."""


class ComputeDtype(StrEnum):
    """The floating-point type in which a host multiplies."""

    BF16 = "bf16"
    FP32 = "fp32"


COMPUTE_BYTES: Final = {ComputeDtype.BF16: 2, ComputeDtype.FP32: 4}


class BaseShape(Frozen):
    """The sizes of a decoder that memory arithmetic needs. Counts of weights, not bytes."""

    parameters: int = Field(gt=0, description="all weights, embeddings included")
    vocab_size: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    num_layers: int = Field(gt=0)
    query_size: int = Field(gt=0, description="attention heads x head size")
    key_value_size: int = Field(gt=0, description="key/value heads x head size")
    max_positions: int = Field(gt=0, description="longest sequence the base was trained for, in tokens")


class BaseSpec(Frozen):
    """One catalogue entry, as a host needs it to load the weights."""

    id: str = Field(min_length=1, max_length=128)
    source: str = Field(
        pattern=r"^(hf|file|gguf):.+",
        description="`hf:org/name`, `file:/folder` or `gguf:/file.gguf`",
    )
    revision: str | None = Field(None, description="commit of the hub repository; only for `hf:`")
    weight_digest: str | None = Field(None, description="expected sha256 over the weight files; None: not pinned yet")
    chat_template: str | None = Field(None, description="Jinja chat template that overrides the tokenizer's own")
    shape: BaseShape

    @property
    def scheme(self) -> Literal["hf", "file", "gguf"]:
        """The part of `source` before the colon."""
        return self.source.partition(":")[0]  # type: ignore[return-value]  # the pattern admits only these three

    @property
    def location(self) -> str:
        """The part of `source` after the colon: a repository id, a folder or a file."""
        return self.source.partition(":")[2]
