"""Bytes of a base and of a seat, before anything is loaded: what admission reckons with.

The figures are upper estimates for LoRA over a frozen base without activation checkpointing.
Sources: QLoRA (arXiv 2305.14314) for NF4 storage, Korthikanti et al. (arXiv 2205.05198) for activations.
"""

from typing import Final

from workers.contract.base import COMPUTE_BYTES, BaseShape, ComputeDtype, Quantization
from workers.contract.spec import JobSpec, LoraMethod, TrainingSpec

PROCESS_BYTES: Final = 1_200_000_000  # interpreter, torch, transformers, bitsandbytes, Ray worker
OPTIMIZER_BYTES_PER_PARAMETER: Final = 16  # fp32 weight, gradient and two Adam moments
LINEAR_BYTES: Final = {Quantization.NF4: 0.5 + 4 / 64, Quantization.INT8: 1.01}  # NF4: one fp32 absmax per 64 weights


def base_bytes(shape: BaseShape, quantization: Quantization, dtype: ComputeDtype) -> int:
    """Resident weights: embeddings stay in the compute dtype, linears are stored as `quantization` says."""
    embeddings = shape.vocab_size * shape.hidden_size
    linears = max(shape.parameters - embeddings, 0)
    compute = COMPUTE_BYTES[dtype]
    return int(embeddings * compute + linears * LINEAR_BYTES.get(quantization, compute))


def lora_parameters(shape: BaseShape, method: LoraMethod) -> int:
    """Trainable weights: r * (in + out) for every adapted linear of every layer."""
    hidden, middle, query, key_value = (
        shape.hidden_size,
        shape.intermediate_size,
        shape.query_size,
        shape.key_value_size,
    )
    sizes = {
        "q_proj": hidden + query,
        "k_proj": hidden + key_value,
        "v_proj": hidden + key_value,
        "o_proj": query + hidden,
        "gate_proj": hidden + middle,
        "up_proj": hidden + middle,
        "down_proj": middle + hidden,
    }
    widest = hidden + max(middle, query)
    return shape.num_layers * method.rank * sum(sizes.get(name, widest) for name in method.target_modules)


def activation_bytes(shape: BaseShape, training: TrainingSpec, max_seq_len: int, dtype: ComputeDtype) -> int:
    """Stored for backward by one full micro-batch: activations of every layer, fp32 logits and their gradient."""
    tokens = training.micro_batch_size * max_seq_len
    per_layer = 14 * shape.hidden_size + 4 * shape.intermediate_size
    return tokens * (shape.num_layers * per_layer * COMPUTE_BYTES[dtype] + 2 * 4 * shape.vocab_size)


def seat_bytes(spec: JobSpec) -> int:
    """What one seat adds to a host that already holds its base."""
    parameters = lora_parameters(spec.base.shape, spec.method)
    activations = activation_bytes(spec.base.shape, spec.training, spec.data.max_seq_len, spec.compute_dtype)
    return parameters * OPTIMIZER_BYTES_PER_PARAMETER + activations


def host_bytes(spec: JobSpec) -> int:
    """A fresh host with this job alone on it."""
    return PROCESS_BYTES + base_bytes(spec.base.shape, spec.quantization, spec.compute_dtype) + seat_bytes(spec)
