"""A seat trained among others computes what it computes alone through stock PEFT, in loss and gradients.

In every precision every two values of the other factors meet (`pairwise`); the whole matrix runs with `make matrix`.

Tolerances: fp32 and NF4 over fp32 differ only by the order of sums. In bf16 the base's own rounding depends on the
shape of its matrix products; int8 keeps columns in 16 bit that any row of the batch made outliers.
"""

import copy
import itertools
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.builders.pairwise import pairwise
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from workers.bases import LoadedBase, load_base
from workers.contract.base import BaseSpec, ComputeDtype, Quantization
from workers.contract.spec import JobSpec
from workers.data.batches import BatchPlan, collate
from workers.data.encode import EncodedRow
from workers.engine.optimizer import update
from workers.engine.seat import Seat
from workers.engine.stepper import Stepped, Stepper, StepResult
from workers.lanes.fused import FusedStepper
from workers.lanes.fused import stepper as fused_stepper
from workers.lanes.fused.stack import StackedAdapter
from workers.lanes.solo import stepper as turns
from workers.lanes.solo.stepper import SequentialStepper

PRECISIONS = {
    "fp32": (Quantization.NONE, ComputeDtype.FP32, 1e-6, 1e-5),
    "nf4": (Quantization.NF4, ComputeDtype.FP32, 1e-6, 1e-5),
    "bf16": (Quantization.NONE, ComputeDtype.BF16, 2e-3, 5e-2),
    "int8": (Quantization.INT8, ComputeDtype.FP32, 1e-3, 5e-2),
}
"""Quantization, arithmetic, and the relative tolerances of loss and gradients."""
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Case:
    others: int
    mixed_lengths: bool
    mixed_ranks: bool
    dropout: float
    accumulation: int
    clip: float
    recompute: bool
    weighted: bool


FACTORS = ((1, 2, 8), (False, True), (False, True), (0.0, 0.1), (1, 4), (0.0, 0.01), (False, True), (False, True))
PAIRWISE = [Case(*parts) for parts in pairwise(*FACTORS)]
OTHERS = [case for parts in itertools.product(*FACTORS) if (case := Case(*parts)) not in PAIRWISE]


@dataclass
class Bench:
    """A base loaded twice: for the fused stepper, with and without recomputation, and for the reference."""

    fused: LoadedBase
    solo: SequentialStepper
    steppers: dict[bool, FusedStepper]


@pytest.fixture(scope="module", params=list(PRECISIONS))
def precision(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def bench(precision: str, tiny_base: BaseSpec, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    quantization, compute, *_ = PRECISIONS[precision]
    host = make_host_spec(tmp_path_factory.mktemp("bench"), tiny_base, quantization=quantization, compute_dtype=compute)
    bases = [load_base(host) for _ in range(3)]
    steppers = {again: FusedStepper(bases[again], budget_tokens=100_000, recompute=again) for again in (False, True)}
    return Bench(bases[0], SequentialStepper(bases[2]), steppers)


@pytest.fixture(scope="module")
def spec(precision: str, tiny_base: BaseSpec, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    quantization, compute, *_ = PRECISIONS[precision]
    folder = tmp_path_factory.mktemp("spec")
    return make_job_spec(folder, tiny_base, quantization=quantization, compute_dtype=compute)


def rows(count: int, mixed: bool, weighted: bool, seed: int) -> list[EncodedRow]:
    """The first three tokens carry no loss. `weighted`: the others count for anything from 0 to 1, else all for 1."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [int(torch.randint(6, 40, (), generator=generator)) if mixed else 16 for _ in range(count)]
    tokens = [torch.randint(5, 250, (length,), generator=generator).tolist() for length in lengths]
    weights = [
        (torch.randint(0, 5, (len(ids),), generator=generator) / 4 if weighted else torch.ones(len(ids))).tolist()
        for ids in tokens
    ]
    return [
        EncodedRow.of(n, ids, [0.0] * 3 + own[3:]) for n, (ids, own) in enumerate(zip(tokens, weights, strict=True), 1)
    ]


def seat(stepper: Stepper, spec: JobSpec, case: Case, number: int) -> Seat:
    """Seat 0 is the one compared; the others differ in everything that the case allows."""
    ranks, targets = ((4, 16, 3), (ALL, ("q_proj", "v_proj"), ("down_proj",))) if case.mixed_ranks else ((4,), (ALL,))
    method = spec.method.model_copy(
        update={
            "rank": ranks[number % len(ranks)],
            "target_modules": targets[number % len(targets)],
            "dropout": case.dropout,
        }
    )
    training = spec.training.model_copy(
        update={
            "batch_size": 2 * case.accumulation,
            "micro_batch_size": 2,
            "max_grad_norm": case.clip,
            "warmup_ratio": 0,
        }
    )
    own = spec.model_copy(update={"job_id": f"job-{number}", "seed": number, "method": method, "training": training})
    own_rows = rows(2 * case.accumulation, case.mixed_lengths, case.weighted, seed=number)
    plan = BatchPlan(own_rows, training, own.seed, 0, collate)
    adapter = stepper.open(own)
    start = {name: nudged(weight, name) for name, weight in adapter.weights().items()}
    adapter.load(start, {}, 0)
    return Seat(make_order(own), adapter, plan, ())


def nudged(weight: Tensor, name: str) -> Tensor:
    """Set B to nonzero values, so that A has a gradient too."""
    generator = torch.Generator().manual_seed(len(name))
    return weight + 0.02 * torch.randn(weight.shape, generator=generator) if ".lora_B." in name else weight.clone()


def gradients_of(adapter: Any) -> dict[str, Tensor]:
    """Copies, by weight name."""
    if isinstance(adapter, StackedAdapter):
        return {name: gradient.clone() for name, gradient in adapter.gradients().items()}
    return {name: weight.grad.clone() for name, weight in adapter.by_name.items()}


def first_step(
    stepper: Stepper, seats: list[Seat], monkeypatch: pytest.MonkeyPatch
) -> tuple[StepResult, dict[str, Tensor]]:
    """Result and unclipped gradients of the first seat's first step."""
    seen: dict[int, dict[str, Tensor]] = {}

    def watch(optimizer: torch.optim.AdamW, training: object, rate: float, step: int, lines: object) -> float:
        watched = seats[0].adapter
        if optimizer is watched.optimizer:  # type: ignore[attr-defined]
            grads = (
                watched.gradients()
                if hasattr(watched, "gradients")
                else {n: w.grad for n, w in watched.by_name.items()}
            )  # type: ignore[attr-defined]
            seen[0] = {name: grad.clone() for name, grad in grads.items()}
        return update(optimizer, training, rate, step, lines)  # type: ignore[arg-type]

    monkeypatch.setattr(fused_stepper, "update", watch)
    monkeypatch.setattr(turns, "update", watch)
    done: dict[str, Stepped] = {}
    while "job-0" not in done:
        waiting = [seat for seat in seats if seat.spec.job_id not in done]
        done |= {stepped.seat.spec.job_id: stepped for stepped in stepper.step(waiting)}
    result = done["job-0"].result
    assert isinstance(result, StepResult), result
    return result, seen[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [*PAIRWISE, *(pytest.param(case, marks=pytest.mark.matrix) for case in OTHERS)], ids=str
)
def test_a_seat_among_others_equals_the_seat_alone(
    bench: Bench, spec: JobSpec, precision: str, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss_tolerance, gradient_tolerance = PRECISIONS[precision][2:]
    fused = bench.steppers[case.recompute]
    together = [seat(fused, spec, case, number) for number in range(1 + case.others)]
    alone = seat(bench.solo, spec, case, 0)
    got, got_gradients = first_step(fused, together, monkeypatch)
    wanted, wanted_gradients = first_step(bench.solo, [alone], monkeypatch)
    weights = copy.deepcopy(dict(together[0].adapter.weights()))
    reference = copy.deepcopy(dict(alone.adapter.weights()))
    for each in together:
        fused.close(each.adapter)
    bench.solo.close(alone.adapter)

    assert got.loss == pytest.approx(wanted.loss, rel=loss_tolerance)
    assert got.accuracy == pytest.approx(wanted.accuracy, abs=1e-6 if precision in ("fp32", "nf4") else 0.05)
    assert got.grad_norm == pytest.approx(wanted.grad_norm, rel=gradient_tolerance)
    assert (got.tokens, got.supervised_tokens) == (wanted.tokens, wanted.supervised_tokens)
    assert got_gradients.keys() == wanted_gradients.keys()
    scale = max(float(gradient.abs().max()) for gradient in wanted_gradients.values())
    for name, gradient in wanted_gradients.items():
        torch.testing.assert_close(got_gradients[name], gradient, rtol=0, atol=gradient_tolerance * scale)
    assert weights.keys() == reference.keys()
    if precision in ("fp32", "nf4"):
        changed = max(float((weights[name] - reference[name]).abs().max()) for name in reference)
        assert changed <= 2 * spec.training.learning_rate  # Adam's first step is the sign of the gradient


def test_the_base_is_untouched(bench: Bench) -> None:
    bench.fused.verify_unchanged()
