"""The definition of a base: the source of its weights, its precisions and its sizes."""

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
    """The floating-point type of a host's matrix products."""

    BF16 = "bf16"
    FP32 = "fp32"


COMPUTE_BYTES: Final = {ComputeDtype.BF16: 2, ComputeDtype.FP32: 4}


LEFT_OUT: Final = 0.25
"""A base of which quantization leaves out a larger share is not held as asked. Routers and convolutions are far below,
stacked experts far above."""
DECODER_LINEARS: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Last name parts of the linears of a gated decoder, as most model families name them."""


class LinearShape(Frozen):
    """A kind of linear that a method may adapt: its last name part, its sizes, and their count in the base."""

    name: str = Field(min_length=1)
    inputs: int = Field(gt=0)
    outputs: int = Field(gt=0)
    count: int = Field(gt=0)


class BaseShape(Frozen):
    """The sizes of a base for memory arithmetic. They count weights, not bytes."""

    kind: Literal["decoder", "encoder", "encoder_decoder"] = "decoder"
    parameters: int = Field(gt=0, description="all weights, embeddings included")
    vocab_size: int = Field(gt=0)
    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    num_layers: int = Field(gt=0)
    query_size: int = Field(gt=0, description="attention heads x head size")
    key_value_size: int = Field(gt=0, description="key/value heads x head size")
    max_positions: int = Field(gt=0, description="longest sequence the base was trained for, in tokens")
    adaptable: tuple[LinearShape, ...] | None = Field(
        None, description="linears that may be adapted; null: those of a gated decoder of these sizes"
    )

    decoder: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.]+$",
        description="path of the decoder in a model that holds other networks beside it, such as a vision tower: only "
        "its linears are adapted; null: the model is a decoder and nothing else",
    )

    @property
    def linears(self) -> tuple[LinearShape, ...]:
        """Every kind of linear that a method may adapt."""
        if self.adaptable is not None:
            return self.adaptable
        hidden, middle, query, key_value = (
            self.hidden_size,
            self.intermediate_size,
            self.query_size,
            self.key_value_size,
        )
        sizes = {
            "q_proj": (hidden, query),
            "k_proj": (hidden, key_value),
            "v_proj": (hidden, key_value),
            "o_proj": (query, hidden),
            "gate_proj": (hidden, middle),
            "up_proj": (hidden, middle),
            "down_proj": (middle, hidden),
        }
        return tuple(
            LinearShape(name=name, inputs=inputs, outputs=outputs, count=self.num_layers)
            for name, (inputs, outputs) in sizes.items()
        )

    @property
    def linear_names(self) -> tuple[str, ...]:
        """The last name parts of `linears`; one name may stand for linears of several sizes."""
        return tuple(dict.fromkeys(linear.name for linear in self.linears))


class BaseSpec(Frozen):
    """One catalogue entry: what a host needs to load the weights."""

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
