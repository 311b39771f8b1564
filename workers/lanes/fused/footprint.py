"""Measures a host's memory: the resident base, and each token of a pass."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch

from workers.bases import LoadedBase
from workers.contract.errors import OutOfMemory
from workers.contract.memory import PROCESS_BYTES, Footprint, estimate, logit_bytes
from workers.contract.methods import Lora
from workers.contract.rows import DatasetFormat
from workers.contract.spec import DatasetRef, DataSpec, HostSpec, JobSpec, TrainingSpec
from workers.data.batches import MicroBatch
from workers.lanes.fused.peak import give_back_free_memory, measure_peak
from workers.lanes.fused.routing import SeatBatch
from workers.lanes.fused.stack import StackedAdapter
from workers.methods.linears import adaptable_linears, last_names
from workers.rng import DropoutKey

VISIBLE_BYTES: Final = 64_000_000  # a probe should take this much, to stand out from allocator noise
PROBES: Final = (128, 1_024)  # least and most tokens of the longer probe; the shorter one has a quarter
ROW: Final = 32  # tokens per row of a probe
MARGIN: Final = 1.1  # on the measurement: other lengths and mixes of seats differ slightly
TRUSTED_SHARE: Final = 0.1  # of the estimate; a measurement below it counts as noise

log = logging.getLogger(__name__)
Probe = Callable[[int, bool, bool], None]
"""Runs a training pass over (number of tokens, recompute or not, all tokens supervised or one per row)."""


def measure_footprint(base: LoadedBase, probe: Probe, *, can_recompute: bool) -> Footprint:
    """The memory of `base` and its passes on this machine. Falls back to the estimate when no probe fits."""
    guess = estimate_of(base.spec)
    long = probe_tokens(guess, base.spec.memory_bytes)
    if long < PROBES[0]:
        log.warning("no memory is free to measure the footprint; using the estimate %s", guess)
        return guess
    try:
        probe(long // 4, False, False)  # the first pass makes allocations that stay
        line = _line(probe, long, False, base.device)
        each = line.each + _logits_beyond(probe, line, long, guess.vocab_size, base.device)
        fewer = line.each - _line(probe, long, True, base.device).each if can_recompute else 0
    except OutOfMemory:
        log.warning("out of memory while measuring the footprint; using the estimate %s", guess)
        return guess
    give_back_free_memory()
    context = PROCESS_BYTES if base.device.type == "cuda" else 0  # the allocator does not count the CUDA context
    measured = Footprint(
        resident_bytes=int(line.resident) + context,
        activation_bytes=int(max(MARGIN * each, TRUSTED_SHARE * guess.activation_bytes)),
        recomputed_bytes=int(max(MARGIN * (each - max(fewer, 0)), TRUSTED_SHARE * guess.recomputed_bytes)),
        vocab_size=guess.vocab_size,
    )
    log.info("measured footprint: %s; estimate: %s", measured, guess)
    return measured


def estimate_of(spec: HostSpec) -> Footprint:
    """The estimate of `workers.contract.memory` for the host."""
    return estimate(spec.base.shape, spec.quantization, spec.compute_dtype)


def probe_tokens(guess: Footprint, limit: int | None) -> int:
    """Tokens of the longer probe: enough to be visible, few enough to fit the memory limit."""
    wanted = min(max(VISIBLE_BYTES // guess.activation_bytes, PROBES[0]), PROBES[1])
    if limit is not None:
        wanted = min(wanted, guess.tokens_within(limit - guess.resident_bytes, recompute=False))
    return wanted // (4 * ROW) * 4 * ROW


@dataclass(frozen=True)
class _Line:
    """Bytes between passes, per token of a pass, and of the longest measured pass."""

    resident: float
    each: float
    most: int


def _line(probe: Probe, long: int, recompute: bool, device: torch.device) -> _Line:
    """Fit a line through two passes of different lengths with almost no logits."""
    short = long // 4
    _, less = measure_peak(lambda: probe(short, recompute, False), device)
    before, most = measure_peak(lambda: probe(long, recompute, False), device)
    each = max((most - less) / (long - short), 0.0)
    return _Line(before + max(less - each * short, 0), each, most)


def _logits_beyond(probe: Probe, line: _Line, long: int, vocab_size: int, device: torch.device) -> float:
    """Extra bytes per token when all are supervised, beyond one chunk of logits: some bases compute all at once."""
    _, whole = measure_peak(lambda: probe(long, False, True), device)
    return max(whole - line.most - logit_bytes(long, vocab_size), 0) / long


def probe_spec(base: LoadedBase) -> JobSpec:
    """A job that adapts every linear. Its files are never read."""
    host = base.spec
    targets = tuple(sorted(last_names(adaptable_linears(base.model))))
    nothing = DatasetRef(file_id="probe", uri="memory://probe", sha256="", rows=1, format=DatasetFormat.TEXT)
    return JobSpec(
        job_id="probe",
        tenant_id="probe",
        base=host.base,
        quantization=host.quantization,
        compute_dtype=host.compute_dtype,
        method=Lora(rank=8, dropout=0.1, target_modules=targets),
        data=DataSpec(training=nothing),
        training=TrainingSpec(),
        seed=0,
        output_uri="memory://probe",
    )


def probe_batch(adapter: StackedAdapter, tokens: int, all_supervised: bool) -> SeatBatch:
    """Rows of `ROW` tokens with dropout, the case that takes the most memory."""
    ids = torch.ones(tokens // ROW, ROW, dtype=torch.long)
    loss_weights = torch.zeros(ids.shape)
    loss_weights[:, 1 if all_supervised else -1 :] = 1
    batch = MicroBatch.of(ids, torch.ones_like(ids), loss_weights, tuple(range(len(ids))))
    return SeatBatch(adapter, batch, DropoutKey(seed=0, step=0, micro_batch=0))
