"""One process, a resident base, stock PEFT, job after job: the strongest simple way to train many adapters."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from peft import PeftModel, get_peft_model
from torch import nn
from torch.profiler import record_function

from tests.bench.peers.peer import TRAINING, Run, SlotCounter
from tests.bench.peers.stock import adapter_weights, labels_of, peft_config, seed_adapter
from tests.bench.workloads import Job
from workers.bases import LoadedBase, load_base
from workers.contract.spec import HostSpec
from workers.engine.schedule import learning_rate


class SequentialPeer:
    """A bare loop: HF's own loss over full logits, clipping, fused AdamW."""

    def __init__(self, spec: HostSpec) -> None:
        self.base: LoadedBase | None = load_base(spec)
        self._pad_id = self.base.tokenizer.pad_token_id or 0
        self._slots = SlotCounter(self.base.model)
        self._model: Any = self.base.model
        self._peft: PeftModel | None = None

    def run(self, jobs: Sequence[Job]) -> Run:
        """See `Peer.run`."""
        self._slots.take()
        attach_s = train_s = 0.0
        losses = {}
        for job in jobs:
            started = time.perf_counter()
            weights = self._add(job)
            optimizer = make_optimizer(weights, job)
            attached = time.perf_counter()
            losses[job.id] = self._train(job, weights, optimizer)
            trained = time.perf_counter()
            self._remove(job)
            attach_s += (attached - started) + (time.perf_counter() - trained)
            train_s += trained - attached
        return Run(attach_s, train_s, self._slots.take(), losses)

    def _add(self, job: Job) -> list[nn.Parameter]:
        config = peft_config(job.method)
        if self._peft is None:
            self._peft = get_peft_model(self._model, config, adapter_name=job.id)
        else:
            self._peft.add_adapter(job.id, config)
        self._peft.set_adapter(job.id)
        self._peft.train()
        weights = adapter_weights(self._peft, job.id)
        seed_adapter(weights, job.seed)
        return list(weights.values())

    def _remove(self, job: Job) -> None:
        if self._peft is not None:
            self._peft.delete_adapter(job.id)

    @record_function(TRAINING)
    def _train(self, job: Job, weights: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> list[float]:
        plan, losses = job.plan(self._pad_id), []
        for step in range(job.steps):
            batches = plan.micro_batches(step)
            supervised = sum(batch.supervised for batch in batches)
            total = 0.0
            for batch in batches:
                loss = self._model(
                    input_ids=batch.input_ids,
                    attention_mask=batch.attention_mask,
                    labels=labels_of(batch),
                    num_items_in_batch=supervised,
                    use_cache=False,
                ).loss
                loss.backward()
                total += loss.item()
            take_step(weights, optimizer, job, step)
            losses.append(total)
        return losses


def make_optimizer(weights: Sequence[nn.Parameter], job: Job) -> torch.optim.AdamW:
    """torch's fused AdamW with the job's numbers."""
    wanted = job.training
    betas = (wanted.beta1, wanted.beta2)
    return torch.optim.AdamW(
        weights, wanted.learning_rate, betas, wanted.epsilon, weight_decay=wanted.weight_decay, fused=True
    )


def take_step(weights: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, job: Job, step: int) -> None:
    """Clip, set the scheduled rate, step, clear."""
    if job.training.max_grad_norm:
        nn.utils.clip_grad_norm_(weights, job.training.max_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(job.training, step, job.steps)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
