"""Seats step in turn: one optimizer step of one seat at a time, on stock PEFT. The reference for faster steppers."""

import time
from collections.abc import Iterator, Sequence

import torch

from workers.bases import LoadedBase
from workers.contract.memory import Footprint
from workers.contract.spec import JobSpec
from workers.engine.adapter import Adapter
from workers.engine.evaluation import Scored
from workers.engine.guards import freeze_base, memory_guarded, require_finite
from workers.engine.optimizer import update
from workers.engine.seat import Seat
from workers.engine.stepper import Stepped, StepResult
from workers.lanes.solo.adapters import AdapterPool, SoloAdapter
from workers.rng import DropoutKey
from workers.tasks import TASKS


class SequentialStepper:
    """Implements `Stepper`. The seat that has waited longest is next."""

    footprint: Footprint | None = None
    budget_tokens: int | None = None

    def __init__(self, base: LoadedBase) -> None:
        self._base = base
        freeze_base(base.model)
        self._scorer = TASKS.of(base.spec.task).loss(base.model)
        self._pool = AdapterPool(base)
        self._adapters: dict[str, SoloAdapter] = {}
        self._turn = 0
        self._last_turn: dict[str, int] = {}

    def open(self, spec: JobSpec) -> Adapter:
        """See `Stepper.open`."""
        adapter = self._pool.add(spec)
        self._adapters[adapter.name] = adapter
        return adapter

    def close(self, adapter: Adapter) -> None:
        """See `Stepper.close`."""
        self._last_turn.pop(adapter.name, None)
        self._pool.remove(self._adapters.pop(adapter.name))

    def step(self, due: Sequence[Seat]) -> list[Stepped]:
        """See `Stepper.step`: chooses exactly one seat."""
        seat = min(due, key=lambda seat: self._last_turn.get(seat.adapter.name, 0))
        self._turn += 1
        self._last_turn[seat.adapter.name] = self._turn
        try:
            with memory_guarded():
                return [Stepped(seat, self._train(seat))]
        except Exception as error:  # noqa: BLE001  # no error may end more than one seat
            return [Stepped.failed(seat, error)]
        finally:
            self._adapters[seat.adapter.name].optimizer.zero_grad(set_to_none=True)

    def _train(self, seat: Seat) -> StepResult:
        started = time.perf_counter()
        adapter = self._adapters[seat.adapter.name]
        batches = [batch.to(self._base.device) for batch in seat.plan.micro_batches(seat.step)]
        total_weight = sum(batch.total_weight for batch in batches)
        loss, correct = 0.0, 0.0
        for index, batch in enumerate(batches):
            self._pool.activate(adapter, DropoutKey(seat.spec.seed, seat.step, index))
            scores = self._scorer.score(batch)
            scores.nll.backward(scores.shares(total_weight))  # type: ignore[no-untyped-call]  # torch has no type
            loss += float((scores.nll.detach() * scores.weights).sum()) / total_weight
            correct += float((scores.correct * scores.weights).sum())
        lines = [line for batch in batches for line in batch.lines]
        require_finite(loss, f"the training loss of step {seat.step + 1}", lines)
        adapter.require_gradients()
        rate = seat.next_learning_rate
        norm = update(adapter.optimizer, seat.spec.training, rate, seat.step + 1, lines)
        tokens, supervised = sum(batch.tokens for batch in batches), sum(batch.supervised for batch in batches)
        seat.step += 1
        seat.trained_tokens += tokens
        seat.train_loss = loss
        seconds = time.perf_counter() - started
        return StepResult(loss, correct / total_weight, norm, rate, tokens, supervised, seconds)

    @torch.no_grad()
    def evaluate(self, seat: Seat) -> Iterator[Scored]:
        """See `Stepper.evaluate`. A pass has as many rows as in training."""
        adapter = self._adapters[seat.adapter.name]
        size = seat.spec.training.micro_batch_size
        for batch in seat.plan.evaluation_batches(seat.validation, size):
            self._pool.activate(adapter, None)
            with memory_guarded():
                scores = self._scorer.score(batch.to(self._base.device))
                nll, correct = scores.nll * scores.weights, scores.correct * scores.weights
                scored = Scored(float(nll.sum()), float(correct.sum()), batch.total_weight, batch.supervised)
            yield scored
