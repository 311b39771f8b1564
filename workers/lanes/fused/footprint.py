"""Measuring what a host really takes: its base at rest, and a pass for each position."""

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
from workers.methods.linears import adaptable_linears
from workers.rng import DropoutKey

VISIBLE_BYTES: Final = 64_000_000  # that a probe should take, to stand out from an allocator's own moves
PROBES: Final = (128, 1_024)  # positions of the longer probe, at least and at most; the shorter has a quarter
ROW: Final = 32  # positions of a probe's rows
MARGIN: Final = 1.1  # on what was measured: other lengths and mixes of seats lie a little apart
TRUSTED_SHARE: Final = 0.1  # of the estimate; what is measured below it is taken for noise

log = logging.getLogger(__name__)
Probe = Callable[[int, bool, bool], None]
"""Runs a training pass: over so many positions; recomputing or not; all of them supervised, or one of each row."""


def measure_footprint(base: LoadedBase, probe: Probe, *, can_recompute: bool) -> Footprint:
    """What `base` and its passes take on this machine. The estimate stands where there is no room for a probe."""
    guess = estimate_of(base.spec)
    long = probe_positions(guess, base.spec.memory_bytes)
    if long < PROBES[0]:
        log.warning("no room for the passes that measure memory; estimates are used instead: %s", guess)
        return guess
    try:
        probe(long // 4, False, False)  # what is made once and stays, is made here
        line = _line(probe, long, False, base.device)
        each = line.each + _logits_beyond(probe, line, long, guess.vocab_size, base.device)
        fewer = line.each - _line(probe, long, True, base.device).each if can_recompute else 0
    except OutOfMemory:
        log.warning("the passes that measure memory do not fit; estimates are used instead")
        return guess
    give_back_free_memory()
    context = PROCESS_BYTES if base.device.type == "cuda" else 0  # which the allocator does not count
    measured = Footprint(
        resident_bytes=int(line.resident) + context,
        activation_bytes=int(max(MARGIN * each, TRUSTED_SHARE * guess.activation_bytes)),
        recomputed_bytes=int(max(MARGIN * (each - max(fewer, 0)), TRUSTED_SHARE * guess.recomputed_bytes)),
        vocab_size=guess.vocab_size,
    )
    log.info("memory measured: %s; estimated: %s", measured, guess)
    return measured


def estimate_of(spec: HostSpec) -> Footprint:
    """What `workers.contract.memory` expects of the host."""
    return estimate(spec.base.shape, spec.quantization, spec.compute_dtype)


def probe_positions(guess: Footprint, limit: int | None) -> int:
    """How long a probe is worth being, and may be where memory is limited."""
    wanted = min(max(VISIBLE_BYTES // guess.activation_bytes, PROBES[0]), PROBES[1])
    if limit is not None:
        wanted = min(wanted, guess.positions_within(limit - guess.resident_bytes, recompute=False))
    return wanted // (4 * ROW) * 4 * ROW


@dataclass(frozen=True)
class _Line:
    """Bytes between passes, of each position of a pass, and of the longest pass that was measured."""

    resident: float
    each: float
    most: int


def _line(probe: Probe, long: int, recompute: bool, device: torch.device) -> _Line:
    """Through two passes of different length, with hardly any logits."""
    short = long // 4
    _, less = measure_peak(lambda: probe(short, recompute, False), device)
    before, most = measure_peak(lambda: probe(long, recompute, False), device)
    each = max((most - less) / (long - short), 0.0)
    return _Line(before + max(less - each * short, 0), each, most)


def _logits_beyond(probe: Probe, line: _Line, long: int, vocab_size: int, device: torch.device) -> float:
    """What supervising all positions adds to each, beyond a chunk of logits: some bases must make them all at once."""
    _, whole = measure_peak(lambda: probe(long, False, True), device)
    return max(whole - line.most - logit_bytes(long, vocab_size), 0) / long


def probe_spec(base: LoadedBase) -> JobSpec:
    """A job that adapts every linear; none of its files is ever read."""
    host = base.spec
    targets = tuple(sorted({path.rpartition(".")[2] for path in adaptable_linears(base.model)}))
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


def probe_batch(adapter: StackedAdapter, positions: int, all_supervised: bool) -> SeatBatch:
    """Rows of `ROW` positions under dropout, which takes most."""
    ids = torch.ones(positions // ROW, ROW, dtype=torch.long)
    loss_mask = torch.zeros_like(ids, dtype=torch.bool)
    loss_mask[:, 1 if all_supervised else -1 :] = True
    supervised = int(loss_mask.sum())
    batch = MicroBatch(ids, torch.ones_like(ids), loss_mask, tuple(range(len(ids))), positions, supervised)
    return SeatBatch(adapter, batch, DropoutKey(seed=0, step=0, micro_batch=0))
