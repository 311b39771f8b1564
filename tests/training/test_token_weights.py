"""What tokens count for in the loss: by the plain formula, over accumulation, in evaluation, through a whole job."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.builders.driving import drain, losses
from tests.builders.specs import make_dataset, make_host_spec, make_job_spec, make_order
from workers.bases import LoadedBase, load_base
from workers.contract.base import BaseSpec, ComputeDtype, Quantization
from workers.data.batches import BatchPlan, collate
from workers.data.encode import EncodedRow
from workers.engine.evaluation import Evaluation
from workers.engine.seat import Seat
from workers.engine.stepper import Stepper, StepResult
from workers.host import TrainingHost
from workers.lanes.fused import FusedStepper
from workers.lanes.solo.stepper import SequentialStepper

ROWS = [
    EncodedRow.of(1, [5, 6, 7, 8, 9], [1, 0, 0.5, 0, 1]),
    EncodedRow.of(2, [9, 8, 7], [0, 0.25, 0.25]),
    EncodedRow.of(3, [20, 21, 22, 23], [0, 1, 1, 0.1]),
]
EXACT = {"quantization": Quantization.NONE, "compute_dtype": ComputeDtype.FP32}


def seat_of(stepper: Stepper, folder: Path, base: BaseSpec, rows: list[EncodedRow], micro: int) -> Seat:
    """One step is all rows, in micro-batches of `micro`."""
    spec = make_job_spec(folder, base, batch_size=len(rows), micro_batch_size=micro, **EXACT)
    plan = BatchPlan(rows, spec.training, 0, 0, collate)
    return Seat(make_order(spec), stepper.open(spec), plan, rows)


@pytest.fixture
def base(tiny_base: BaseSpec, tmp_path: Path) -> LoadedBase:
    return load_base(make_host_spec(tmp_path, tiny_base, **EXACT))


def stepper_on(base: LoadedBase, lane: str) -> Stepper:
    return FusedStepper(base, budget_tokens=1_000) if lane == "fused" else SequentialStepper(base)


def plain_loss(model: Any, rows: list[EncodedRow]) -> float:
    """Sum of weight x nll over sum of weights. A new adapter changes nothing, so the base alone gives it."""
    total, count = 0.0, 0.0
    for row in rows:
        ids = torch.tensor([list(row.input_ids)])
        with torch.no_grad():
            nll: Tensor = cross_entropy(model(input_ids=ids).logits[0, :-1].float(), ids[0, 1:], reduction="none")
        weights = torch.tensor(list(row.loss_weights[1:]))
        total, count = total + float(nll @ weights), count + float(weights.sum())
    return total / count


def stepped(stepper: Stepper, seat: Seat) -> StepResult:
    while not (done := stepper.step([seat])):
        pass
    result = done[0].result
    assert isinstance(result, StepResult)
    return result


@pytest.mark.parametrize("micro", [1, 3])
@pytest.mark.parametrize("lane", ["fused", "solo"])
def test_the_loss_is_that_of_the_plain_formula_over_all_micro_batches(
    base: LoadedBase, tiny_base: BaseSpec, tmp_path: Path, lane: str, micro: int
) -> None:
    wanted = plain_loss(base.model, ROWS)
    stepper = stepper_on(base, lane)
    seat = seat_of(stepper, tmp_path, tiny_base, ROWS, micro)
    evaluation = Evaluation(ROWS, stepper.evaluate(seat))
    while not evaluation.done:
        evaluation.advance()
    assert evaluation.score(0).loss == pytest.approx(wanted, rel=1e-5)
    result = stepped(stepper, seat)
    assert result.loss == pytest.approx(wanted, rel=1e-5)
    assert result.supervised_tokens == 2 + 2 + 3, "a token that counts for less is still one"
    stepper.close(seat.adapter)


def test_weights_that_are_all_halved_change_nothing(base: LoadedBase, tiny_base: BaseSpec, tmp_path: Path) -> None:
    stepper = stepper_on(base, "fused")
    results = []
    for part in (1.0, 0.5):
        rows = [EncodedRow.of(row.line, row.input_ids, [part] * len(row.input_ids)) for row in ROWS]
        seat = seat_of(stepper, tmp_path, tiny_base, rows, 1)
        results.append(stepped(stepper, seat))
        stepper.close(seat.adapter)
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-6)
    assert results[0].grad_norm == pytest.approx(results[1].grad_norm, rel=1e-6)


def test_only_parts_of_one_are_kept_as_weights_of_a_batch() -> None:
    whole = collate([EncodedRow.of(1, [5, 6, 7], [1, 0, 1])], 0)
    assert (whole.token_weights, whole.supervised, whole.weight) == (None, 1, 1.0)
    parts = collate(ROWS, 0)
    assert parts.token_weights is not None
    assert parts.token_weights.tolist() == pytest.approx([0.5, 1, 0.25, 0.25, 1, 1, 0.1])
    assert parts.weight == pytest.approx(4.1)


def test_a_job_trains_on_the_weights_of_its_messages(tiny_base: BaseSpec, tmp_path: Path) -> None:
    def talk(weight: float) -> dict[str, Any]:
        ask = {"role": "user", "content": "Hm?"}
        first = {"role": "assistant", "content": "no", "weight": weight}
        return {"messages": [ask, first, ask, {"role": "assistant", "content": "well, yes"}]}

    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    for weight in (0, 0.5, 1):
        data = make_dataset(tmp_path / f"{weight}.jsonl", [talk(weight)] * 4)
        host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id=f"job-{weight}", training=data)))
    reports = drain(host)
    none, half, whole = (losses(reports, f"job-{weight}")[0] for weight in (0, 0.5, 1))
    assert none is not None
    assert half is not None
    assert whole is not None
    assert min(none, whole) < half < max(none, whole)
