"""The memory of a host in bytes. Admission uses an estimate until the host has measured its own.

Seats add up; passes do not. The host's token budget, or one larger micro-batch, limits the tokens of a training pass,
and only one chunk of logits exists at a time. When memory is short, a pass recomputes the activations inside its
layers, so a job needs at least the memory of a recomputed pass.
Sources: QLoRA (arXiv 2305.14314) for NF4 storage, Korthikanti et al. (arXiv 2205.05198) for activations.
"""

from typing import Final, Self

from pydantic import Field

from workers.contract.base import COMPUTE_BYTES, BaseShape, ComputeDtype, Quantization
from workers.contract.model import Frozen

PROCESS_BYTES: Final = 1_200_000_000  # interpreter, torch, transformers, bitsandbytes, Ray worker; or a CUDA context
TRAINED_BYTES: Final = 16  # per trained weight: fp32 weight, gradient and two Adam moments
SNAPSHOT_BYTES: Final = 12  # per trained weight, while a checkpoint is written: a copy of weight and moments
LINEAR_BYTES: Final = {Quantization.NF4: 0.5 + 4 / 64, Quantization.INT8: 1.01}  # NF4: one fp32 absmax per 64 weights
VOCABULARY_BLOCK: Final = 8192  # vocabulary entries processed at a time
CHUNK_LOGITS: Final = 1 << 22  # logits processed at a time; more only if the base's own head computes them
LOGIT_BYTES: Final = 12  # fp32 before and after the softmax, and once in the dtype of the head
SLACK: Final = 1.25  # on activations, for allocator fragmentation; glibc's may be higher, so hosts measure
LEAST_TOKENS: Final = 256  # tokens of the smallest pass that every host reserves memory for


class Footprint(Frozen):
    """The memory of a host that does not depend on its seats: estimated from the shape of its base, or measured."""

    resident_bytes: int = Field(ge=0, description="process and base, between passes")
    activation_bytes: int = Field(ge=1, description="of a training pass, per token of its micro-batch")
    recomputed_bytes: int = Field(ge=1, description="likewise, when layers keep only their input")
    vocab_size: int = Field(ge=1)

    def on(self, *, recomputes: bool) -> Self:
        """The footprint for a host that recomputes when memory is short, or for one that cannot."""
        return self if recomputes else self.model_copy(update={"recomputed_bytes": self.activation_bytes})

    def pass_bytes(self, tokens: int, *, recompute: bool) -> int:
        """Bytes that a pass of `tokens` tokens adds while it runs."""
        each = self.recomputed_bytes if recompute else self.activation_bytes
        return tokens * each + logit_bytes(tokens, self.vocab_size)

    def tokens_within(self, room: int, *, recompute: bool) -> int:
        """Most tokens of a pass that fits `room` bytes; 0 when none fits."""
        each = self.recomputed_bytes if recompute else self.activation_bytes
        width = min(self.vocab_size, VOCABULARY_BLOCK)
        unchunked = max(room, 0) // (each + LOGIT_BYTES * width)
        chunked = (room - LOGIT_BYTES * CHUNK_LOGITS) // each
        return max(unchunked if unchunked * width <= CHUNK_LOGITS else chunked, 0)


def estimate(shape: BaseShape, quantization: Quantization, dtype: ComputeDtype) -> Footprint:
    """An upper estimate for LoRA on every linear of a decoder of this shape."""
    layer = layer_bytes(shape, dtype)
    inputs = shape.num_layers * shape.hidden_size * COMPUTE_BYTES[dtype]
    return Footprint(
        resident_bytes=PROCESS_BYTES + base_bytes(shape, quantization, dtype),
        activation_bytes=int(SLACK * (shape.num_layers + 1) * layer),  # plus one: temporaries of the running layer
        recomputed_bytes=int(SLACK * (inputs + 2 * layer)),
        vocab_size=shape.vocab_size,
    )


def base_bytes(shape: BaseShape, quantization: Quantization, dtype: ComputeDtype) -> int:
    """Resident weights: the layers' linears in `quantization`, the rest in the compute dtype.

    Includes one linear that is dequantized for its product.
    """
    widest = max(linear.inputs * linear.outputs for linear in shape.linears)
    linears = sum(linear.count * linear.inputs * linear.outputs for linear in shape.linears)
    linears = min(linears, max(shape.parameters - shape.vocab_size * shape.hidden_size, 0))
    compute = COMPUTE_BYTES[dtype]
    if quantization is Quantization.NONE:
        return shape.parameters * compute
    return int((shape.parameters - linears + widest) * compute + linears * LINEAR_BYTES[quantization])


def layer_bytes(shape: BaseShape, dtype: ComputeDtype) -> int:
    """Bytes that one layer keeps per token for its backward.

    In fp32: the inputs of up to four norms, and a dropout mask for each adapted linear. In the compute dtype: queries,
    keys, values and the attention's output; gate, its activation and up; the inputs of the adapted linears.
    """
    hidden, middle, query, key_value = _sizes(shape)
    norms = 4 * hidden + query + key_value
    masks = 5 * hidden + query + middle  # of q, k, v, gate and up; of o; of down
    inputs = 2 * hidden + query + middle
    return 4 * (norms + masks) + COMPUTE_BYTES[dtype] * (4 * query + 3 * middle + inputs)


def logit_bytes(tokens: int, vocab_size: int) -> int:
    """Bytes of the largest chunk of logits of a pass in which every token is supervised."""
    return LOGIT_BYTES * min(CHUNK_LOGITS, tokens * min(vocab_size, VOCABULARY_BLOCK))


def least_pass_bytes(footprint: Footprint, tokens: int) -> int:
    """Bytes that must be free for passes on a host whose seats have micro-batches of up to `tokens` tokens."""
    return footprint.pass_bytes(max(tokens, LEAST_TOKENS), recompute=True)


def _sizes(shape: BaseShape) -> tuple[int, int, int, int]:
    return shape.hidden_size, shape.intermediate_size, shape.query_size, shape.key_value_size
