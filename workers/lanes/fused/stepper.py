"""`FusedStepper`: one forward and backward pass of the base for many seats, one optimizer step for each."""

import logging
import time
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from workers.bases import LoadedBase
from workers.contract.errors import NoGradient, OutOfMemory
from workers.contract.memory import Footprint
from workers.contract.spec import JobSpec
from workers.engine.adapter import Adapter
from workers.engine.evaluation import Scored
from workers.engine.guards import freeze_base, memory_guarded, require_finite
from workers.engine.optimizer import update
from workers.engine.seat import Seat
from workers.engine.stepper import Stepped, StepResult
from workers.lanes.fused.accumulation import AccumulationWindow
from workers.lanes.fused.budget import UNBOUNDED
from workers.lanes.fused.fair_queue import FairQueue
from workers.lanes.fused.footprint import estimate_of, measure_footprint, probe_batch, probe_spec
from workers.lanes.fused.fuse import fuse
from workers.lanes.fused.knee import measure_knee
from workers.lanes.fused.linears import AdaptedLinears
from workers.lanes.fused.memory_budget import MemoryBudget, stack_bytes
from workers.lanes.fused.packing import switch_to_packing
from workers.lanes.fused.recompute import Recomputation
from workers.lanes.fused.routing import Routing, SeatBatch, route
from workers.lanes.fused.select_batch import Candidate, select_batch
from workers.lanes.fused.stack import StackedAdapter
from workers.tasks import TASKS
from workers.tasks.task import Scorable

log = logging.getLogger(__name__)


class FusedStepper:
    """Implements `Stepper`. `budget_tokens` limits the tokens of a pass; None: the limit follows from the host's knee
    and memory, both measured now. `recompute` makes every pass recompute its activations, not only large ones.
    """

    def __init__(self, base: LoadedBase, budget_tokens: int | None = None, *, recompute: bool = False) -> None:
        self._base = base
        freeze_base(base.model)
        self._recomputation = Recomputation(base.model)
        self._packs = switch_to_packing(base.model)
        self._scorer = TASKS.of(base.spec.task).loss(base.model)
        self._linears = AdaptedLinears(base)
        self._adapters: dict[str, StackedAdapter] = {}
        self._windows: dict[str, AccumulationWindow] = {}
        self._queue = FairQueue()
        self._alone: set[str] = set()
        self._proven: set[str] = set()
        self.footprint = None if budget_tokens else self._measured()
        self._memory = MemoryBudget(
            budget_tokens or measure_knee(self._pass_of),
            self.footprint or estimate_of(base.spec),
            base.spec.memory_bytes if budget_tokens is None else None,
            kept_at_most=0 if recompute else UNBOUNDED,
        )

    @property
    def budget_tokens(self) -> int:
        """See `Stepper.budget_tokens`."""
        return self._memory.budget.tokens

    def open(self, spec: JobSpec) -> Adapter:
        """See `Stepper.open`."""
        adapter = self._linears.open(spec)
        self._adapters[adapter.name] = adapter
        self._memory.hold(self._adapters.values())
        self._queue.enter(adapter.name, spec.tenant_id, spec.fair_weight)
        return adapter

    def close(self, adapter: Adapter) -> None:
        """See `Stepper.close`."""
        self._windows.pop(adapter.name, None)
        self._queue.leave(adapter.name)
        self._alone.discard(adapter.name)
        self._proven.discard(adapter.name)
        self._linears.close(self._adapters.pop(adapter.name))
        self._memory.hold(self._adapters.values())

    def step(self, due: Sequence[Seat]) -> list[Stepped]:
        """See `Stepper.step`: one fused pass, then an optimizer step for every seat whose window is full."""
        windows = [self._window(seat) for seat in due]
        candidates = [self._candidate(window) for window in windows]
        chosen = [windows[index] for index in select_batch(candidates, self.budget_tokens, packed=self._packs)]
        try:
            with memory_guarded():
                self._run(chosen)
        except Exception as error:  # noqa: BLE001  # no error may end more than one seat
            return self._undo(chosen, error)
        return [self._update(window) for window in chosen if window.full]

    @torch.no_grad()
    def evaluate(self, seat: Seat) -> Iterator[Scored]:
        """See `Stepper.evaluate`. Rows of similar length share a pass, up to the budget. A deterministic job's passes
        have as many rows as in training, so the bits are the same on every host.
        """
        adapter, training = self._adapters[seat.adapter.name], seat.spec.training
        widest = max(len(row.input_ids) for row in seat.validation)
        size = training.micro_batch_size if training.deterministic else max(1, self.budget_tokens // widest)
        for batch in seat.plan.evaluation_batches(seat.validation, size):
            routing, fused = self._fused([SeatBatch(adapter, batch)], seat)
            with memory_guarded(), self._linears.routed(routing):
                scores = self._scorer.score(fused)
                nll, correct = scores.nll.double() * scores.weights, scores.correct * scores.weights
                scored = Scored(float(nll.sum()), float(correct.sum()), batch.total_weight, batch.supervised)
            self._queue.serve(adapter.name, batch.tokens)
            yield scored

    def _run(self, windows: Sequence[AccumulationWindow]) -> None:
        """Forward, backward and bookkeeping of one fused pass. Each seat's gradients accumulate in its stack row."""
        started = time.perf_counter()
        routing, batch = self._fused([window.seat_batch() for window in windows], windows[0].seat)
        by_adapter = {window.adapter.name: window for window in windows}
        ordered = [by_adapter[seat_batch.adapter.name] for seat_batch in routing.seat_batches]
        counts = [seat_batch.batch.supervised for seat_batch in routing.seat_batches]
        totals = [window.total_weight for window in ordered]
        with self._recomputation.when(self._memory.budget.recomputes(routing.tokens)):
            nll, correct = self._forward_backward(routing, batch, totals, counts)
        seconds = time.perf_counter() - started
        total = sum(seat_batch.batch.tokens for seat_batch in routing.seat_batches)
        for window, seat_nll, seat_correct in zip(ordered, nll, correct, strict=True):
            tokens = window.next_batch.tokens
            window.add(seat_nll, seat_correct, seconds * tokens / total)
            self._queue.serve(window.adapter.name, tokens)

    def _fused(self, seat_batches: Sequence[SeatBatch], of: Seat) -> tuple[Routing, Scorable]:
        """The routing of the seat batches, and their fused batch."""
        routing = route(seat_batches, packed=self._packs)
        return routing, fuse(routing, of.plan.pad_id, self._base.device)

    def _forward_backward(
        self, routing: Routing, batch: Scorable, totals: Sequence[float], counts: Sequence[int]
    ) -> tuple[list[float], list[float]]:
        """Weighted sums of nll and of correct tokens per seat. Each has `counts` of the scored tokens; the weights of
        its window sum to `totals`.
        """
        with self._linears.routed(routing):
            scores = self._scorer.score(batch)
            device = scores.nll.device
            total_of_each = torch.tensor(totals, device=device, dtype=torch.float64).repeat_interleave(
                torch.tensor(counts, device=device)
            )
            scores.nll.backward(scores.shares(total_of_each))  # type: ignore[no-untyped-call]  # torch has no type
        nll = torch.split(scores.nll.detach() * scores.weights, list(counts))
        correct = torch.split(scores.correct * scores.weights, list(counts))
        return [float(part.sum()) for part in nll], [float(part.sum()) for part in correct]

    def _update(self, window: AccumulationWindow) -> Stepped:
        """The optimizer step of one seat whose window is full. An error ends this seat only."""
        name = window.adapter.name
        del self._windows[name]
        self._alone.discard(name)
        try:
            with memory_guarded("the optimizer's state", "rank"):  # AdamW allocates it in the first step
                return Stepped(window.seat, self._stepped(window))
        except Exception as error:  # noqa: BLE001  # no error may end more than one seat
            return Stepped.failed(window.seat, error)

    def _stepped(self, window: AccumulationWindow) -> StepResult:
        """Raises NonFiniteLoss, NoGradient, and any error of the optimizer."""
        seat, adapter = window.seat, window.adapter
        loss = window.nll / window.total_weight
        lines = [line for batch in window.batches for line in batch.lines]
        require_finite(loss, f"the training loss of step {seat.step + 1}", lines)
        self._require_gradients(adapter)
        rate = seat.next_learning_rate
        norm = update(adapter.optimizer, seat.spec.training, rate, seat.step + 1, lines)
        seat.step += 1
        seat.trained_tokens += window.tokens
        seat.train_loss = loss
        accuracy = window.correct / window.total_weight
        return StepResult(loss, accuracy, norm, rate, window.tokens, window.supervised, window.seconds)

    def _undo(self, windows: Sequence[AccumulationWindow], error: Exception) -> list[Stepped]:
        """Drop the windows of a failed pass. A single seat ends with `error`; several are retried one by one."""
        for window in windows:
            del self._windows[window.adapter.name]
        if isinstance(error, OutOfMemory):
            tokens = route([window.seat_batch() for window in windows], packed=self._packs).tokens
            last_resort = not self._recomputation.possible or self._memory.budget.recomputes(tokens)
            self._memory.overrun(tokens, [window.adapter.name for window in windows])
            log.warning("a pass of %s tokens ran out of memory; the budget is now %s", tokens, self._memory.budget)
            if not last_resort:
                return []  # a pass of the same size recomputes next time
        if len(windows) > 1:
            self._alone |= {window.adapter.name for window in windows}
            return []
        return [Stepped.failed(windows[0].seat, error)]

    def _window(self, seat: Seat) -> AccumulationWindow:
        name = seat.adapter.name
        if name not in self._windows:
            self._windows[name] = AccumulationWindow(seat, self._adapters[name])
        return self._windows[name]

    def _candidate(self, window: AccumulationWindow) -> Candidate:
        rows, width = window.next_batch.input_ids.shape
        name = window.adapter.name
        tenant, seat = self._queue.served(name)
        alone = window.seat.spec.training.deterministic or name in self._alone
        return Candidate(rows, width, window.next_batch.tokens, tenant, seat, alone)

    def _require_gradients(self, adapter: StackedAdapter) -> None:
        """On a seat's first step, check that B received a gradient in most linears. Raises NoGradient.

        B starts at zero, so A has no gradient yet.
        """
        if adapter.name in self._proven:
            return
        ends = {name: grad for name, grad in adapter.gradients().items() if ".lora_B." in name}
        dead = [name for name, gradient in ends.items() if not bool(gradient.any())]
        if 2 * len(dead) > len(ends):
            raise NoGradient(f"{len(dead)} of {len(ends)} adapted linears received no gradient, first {dead[0]}")
        self._proven.add(adapter.name)

    def _pass_of(self, tokens: int) -> None:
        """A forward and backward pass of the base alone over one row of `tokens`, for measurement."""
        embed: nn.Module = self._base.model.get_input_embeddings()  # type: ignore[operator]
        ids = torch.zeros((1, tokens), dtype=torch.long, device=self._base.device)
        inputs = embed(ids).detach().requires_grad_()
        decoder = self._base.model.get_decoder()  # type: ignore[operator]
        hidden = decoder(inputs_embeds=inputs, use_cache=False).last_hidden_state
        hidden.sum().backward()
        if self._base.device.type == "cuda":
            torch.cuda.synchronize()

    def _measured(self) -> Footprint:
        """The footprint, measured by passes that adapt every linear."""
        adapter = self._linears.open(probe_spec(self._base))

        def probe(tokens: int, recompute: bool, all_supervised: bool) -> None:
            seat_batch = probe_batch(adapter, tokens, all_supervised)
            routing = route([seat_batch], packed=self._packs)
            with memory_guarded(), self._recomputation.when(recompute):
                batch = fuse(routing, 0, self._base.device)
                self._forward_backward(routing, batch, [float(tokens)], [seat_batch.batch.supervised])

        try:
            measured = measure_footprint(self._base, probe, can_recompute=self._recomputation.possible)
            without_probe = max(measured.resident_bytes - stack_bytes(adapter.stack), 0)
            return measured.model_copy(update={"resident_bytes": without_probe})
        finally:
            self._linears.close(adapter)
