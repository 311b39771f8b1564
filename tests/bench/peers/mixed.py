"""PEFT's mixed batch, made for inference (`adapter_names`), forced into training: the upstream way to fuse."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import get_peft_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.profiler import record_function

from tests.bench.peers.peer import TRAINING, Run, SlotCounter
from tests.bench.peers.sequential import make_optimizer, take_step
from tests.bench.peers.stock import adapter_weights, labels_of, peft_config, seed_adapter
from tests.bench.workloads import Job
from workers.bases import LoadedBase, load_base
from workers.contract.spec import HostSpec
from workers.data.batches import MicroBatch


class MixedPeer:
    """All jobs in one batch, padded to the longest row; each job keeps its own loss, clipping and AdamW."""

    def __init__(self, spec: HostSpec) -> None:
        self.base: LoadedBase | None = load_base(spec)
        self._pad_id = self.base.tokenizer.pad_token_id or 0
        self._slots = SlotCounter(self.base.model)
        self._model: Any = self.base.model
        self._peft: Any = None

    def run(self, jobs: Sequence[Job]) -> Run:
        """See `Peer.run`. Jobs with accumulation are not for this peer."""
        self._slots.take()
        started = time.perf_counter()
        weights = {job.id: self._add(job) for job in jobs}
        optimizers = {job.id: make_optimizer(weights[job.id], job) for job in jobs}
        self._force_training([job.id for job in jobs])
        attached = time.perf_counter()
        losses = self._train(jobs, weights, optimizers)
        trained = time.perf_counter()
        for job in jobs:
            self._peft.delete_adapter(job.id)
        closed = time.perf_counter()
        return Run((attached - started) + (closed - trained), trained - attached, self._slots.take(), losses)

    def _add(self, job: Job) -> list[nn.Parameter]:
        config = peft_config(job.method)
        if self._peft is None:
            self._peft = get_peft_model(self._model, config, adapter_name=job.id)
        else:
            self._peft.add_adapter(job.id, config)
        weights = adapter_weights(self._peft, job.id)
        seed_adapter(weights, job.seed)
        return list(weights.values())

    def _force_training(self, adapters: list[str]) -> None:
        """PEFT refuses a mixed batch while its tuner says that it trains."""
        self._peft.base_model.set_adapter(adapters)
        self._peft.train()
        self._peft.base_model.training = False

    @record_function(TRAINING)
    def _train(
        self,
        jobs: Sequence[Job],
        weights: Mapping[str, list[nn.Parameter]],
        optimizers: Mapping[str, torch.optim.Optimizer],
    ) -> dict[str, list[float]]:
        losses: dict[str, list[float]] = {job.id: [] for job in jobs}
        plans = {job.id: job.plan(self._pad_id) for job in jobs}
        for step in range(max(job.steps for job in jobs)):
            due = [job for job in jobs if step < job.steps]
            batches = [_only(plans[job.id].micro_batches(step)) for job in due]
            parts = self._losses([job.id for job in due], batches)
            torch.stack(parts).sum().backward()  # type: ignore[no-untyped-call]
            for job, loss in zip(due, parts, strict=True):
                take_step(weights[job.id], optimizers[job.id], job, step)
                losses[job.id].append(loss.item())
        return losses

    def _losses(self, adapters: Sequence[str], batches: Sequence[MicroBatch]) -> list[Tensor]:
        """Mean loss of each job over its own supervised tokens."""
        width = max(batch.input_ids.shape[1] for batch in batches)
        sizes = [len(batch.input_ids) for batch in batches]
        logits = self._peft(
            input_ids=_stacked([batch.input_ids for batch in batches], width, self._pad_id),
            attention_mask=_stacked([batch.attention_mask for batch in batches], width, 0),
            adapter_names=[name for name, size in zip(adapters, sizes, strict=True) for _ in range(size)],
            use_cache=False,
        ).logits
        labels = _stacked([labels_of(batch) for batch in batches], width, -100)
        pairs = zip(torch.split(logits, sizes), torch.split(labels, sizes), strict=True)
        return [cross_entropy(said[:, :-1].flatten(0, 1).float(), want[:, 1:].flatten()) for said, want in pairs]


def _only(batches: Sequence[MicroBatch]) -> MicroBatch:
    (batch,) = batches
    return batch


def _stacked(parts: Sequence[Tensor], width: int, fill: int) -> Tensor:
    return torch.cat([pad(part, (0, width - part.shape[1]), value=fill) for part in parts])
