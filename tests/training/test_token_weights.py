"""Tokens that count for a fraction: loss is sum(weight x nll) / sum(weight), as written here on a stock model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import Tensor
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM

from tests.bench.peers.stock import adapter_weights, peft_config
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from workers.bases import LoadedBase, load_base
from workers.contract.base import BaseSpec
from workers.contract.spec import JobSpec
from workers.data.batches import BatchPlan, collate
from workers.data.encode import EncodedRow
from workers.engine.evaluation import Evaluation, Score
from workers.engine.seat import Seat
from workers.engine.stepper import Stepper, StepResult
from workers.lanes.fused import FusedStepper
from workers.lanes.fused import stepper as fused_stepper
from workers.lanes.solo.stepper import SequentialStepper
from workers.tasks import token_loss
from workers.tasks.task import Scores

LANES: dict[str, Callable[[LoadedBase], Stepper]] = {
    "fused": lambda base: FusedStepper(base, budget_tokens=10_000),
    "solo": SequentialStepper,
}
every_lane = pytest.mark.parametrize("lane", list(LANES))
FRACTIONS = [
    EncodedRow.of(1, [9, 17, 33, 65, 12], [1, 0, 0.25, 1, 0.5]),
    EncodedRow.of(2, [7, 8, 30], [0, 0.1, 0]),
    EncodedRow.of(3, [40, 41, 42, 43, 44, 45, 46], [0, 1, 1, 1, 0.75, 0, 1]),
    EncodedRow.of(4, [50, 60], [0, 0.3]),
]
"""Two micro-batches of two rows, in whatever order: their weights never sum to the same."""
ZEROS_AND_ONES = [EncodedRow.of(row.line, row.input_ids, [w > 0 for w in row.loss_weights]) for row in FRACTIONS]
OTHER = [EncodedRow.of(n, list(range(5, 20 + n)), [0.0] * 5 + [0.9] * (10 + n)) for n in range(1, 5)]


@dataclass(frozen=True)
class Plain:
    loss: float
    accuracy: float
    gradients: dict[str, Tensor]


def plain(spec: JobSpec, weights: dict[str, Tensor], rows: Sequence[EncodedRow]) -> Plain:
    """Loss, accuracy and gradients over `rows`, row by row through full logits of stock PEFT."""
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(Path(spec.base.location)), peft_config(spec.method))
    own = adapter_weights(model, "default")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(weights[name])
    nll, correct, total = torch.zeros(()), 0.0, 0.0
    for row in rows:
        ids, counts = torch.tensor(row.input_ids.tolist()), torch.tensor(row.loss_weights.tolist())[1:]
        said = log_softmax(model(input_ids=ids[None]).logits[0, :-1], dim=-1)
        nll = nll - (said.gather(1, ids[1:, None])[:, 0] * counts).sum()
        correct += float(((said.argmax(-1) == ids[1:]) * counts).sum())
        total += float(counts.sum())
    (nll / total).backward()
    return Plain(float(nll.detach()) / total, correct / total, {n: weight.grad for n, weight in own.items()})


def make_seat(
    stepper: Stepper, spec: JobSpec, rows: Sequence[EncodedRow], validation: Sequence[EncodedRow] = ()
) -> Seat:
    """A seat whose every weight has a gradient: B starts off zero."""
    adapter = stepper.open(spec)
    generator = torch.Generator().manual_seed(3)
    start = {
        name: weight + 0.02 * torch.randn(weight.shape, generator=generator) if ".lora_B." in name else weight.clone()
        for name, weight in sorted(adapter.weights().items())
    }
    adapter.load(start, {}, 0)
    return Seat(make_order(spec), adapter, BatchPlan(rows, spec.training, spec.seed, 0, collate), validation)


def copies(tensors: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@pytest.fixture
def job(tmp_path: Path, tiny_base: BaseSpec) -> JobSpec:
    return make_job_spec(tmp_path, tiny_base, job_id="watched", batch_size=4, micro_batch_size=2, max_grad_norm=0)


@pytest.fixture
def base(tmp_path: Path, tiny_base: BaseSpec) -> LoadedBase:
    return load_base(make_host_spec(tmp_path, tiny_base))


def step_of(
    stepper: Stepper, watched: Seat, others: Sequence[Seat], monkeypatch: pytest.MonkeyPatch
) -> tuple[StepResult, dict[str, Tensor]]:
    """The watched seat's next step and the gradients behind it."""
    seen: dict[str, Tensor] = {}
    module = __import__(type(stepper).__module__, fromlist=["update"])
    update = module.update

    def watch(optimizer: Any, *rest: Any) -> float:
        adapter: Any = watched.adapter
        if optimizer is adapter.optimizer:
            grads = (
                adapter.gradients()
                if hasattr(adapter, "gradients")
                else {n: w.grad for n, w in adapter.by_name.items()}
            )
            seen.update(copies(grads))
        return float(update(optimizer, *rest))

    monkeypatch.setattr(module, "update", watch)
    while True:
        for stepped in stepper.step([watched, *others]):
            if stepped.seat is watched:
                assert isinstance(stepped.result, StepResult), stepped.result
                return stepped.result, seen


@pytest.mark.parametrize("company", [0, 2])
@pytest.mark.parametrize("way", ["fused, packed", "fused, padded", "solo"])
def test_a_step_s_loss_and_gradients_are_those_of_the_plain_formula(
    job: JobSpec, base: LoadedBase, way: str, company: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "fused, padded":
        monkeypatch.setattr(fused_stepper, "switch_to_packing", lambda model: False)
    stepper = LANES[way.partition(",")[0]](base)
    watched = make_seat(stepper, job, FRACTIONS)
    others = [
        make_seat(stepper, job.model_copy(update={"job_id": f"other-{n}", "seed": n}), OTHER) for n in range(company)
    ]
    start = copies(watched.adapter.weights())
    sums = {batch.total_weight for batch in watched.plan.micro_batches(0)}
    assert len(sums) == 2, "the micro-batches of the window weigh differently"
    got, gradients = step_of(stepper, watched, others, monkeypatch)
    wanted = plain(job, start, FRACTIONS)
    assert got.loss == pytest.approx(wanted.loss, rel=1e-5)
    assert got.accuracy == pytest.approx(wanted.accuracy, rel=1e-5)
    assert (got.tokens, got.supervised_tokens) == (17, 10), "counts know no weights"
    assert gradients.keys() == wanted.gradients.keys()
    scale = max(float(gradient.abs().max()) for gradient in wanted.gradients.values())
    for name, gradient in wanted.gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=1e-5 * scale)


@every_lane
def test_equal_weights_train_as_ones_do_however_small(
    job: JobSpec, base: LoadedBase, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1e-40 is above zero in fp32, but one over it is not finite."""
    ones, small = (
        [EncodedRow.of(row.line, row.input_ids, [w * scale for w in row.loss_weights]) for row in ZEROS_AND_ONES]
        for scale in (1, 1e-40)
    )
    stepper, found = LANES[lane](base), []
    for rows in (ones, small):
        seat = make_seat(stepper, job, rows)
        found.append(step_of(stepper, seat, [], monkeypatch))
        stepper.close(seat.adapter)
    (wanted, gradients), (got, others) = found
    assert got.loss == pytest.approx(wanted.loss, rel=1e-4)
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-7)


@every_lane
def test_weights_of_zero_and_one_give_the_bits_of_a_mean_over_the_supervised_tokens(
    job: JobSpec, base: LoadedBase, lane: str
) -> None:
    """No product with a weight and no sum of weights leaves a trace: the loss is sum / count, each share 1 / count."""
    stepper: Any = LANES[lane](base)
    scored: list[tuple[Tensor, Tensor]] = []
    shares: list[Tensor] = []
    score = stepper._scorer.score

    def watch(batch: Any) -> Scores:
        scores: Scores = score(batch)
        scores.nll.register_hook(shares.append)
        scored.append((scores.nll.detach(), scores.correct))
        return scores

    stepper._scorer.score = watch
    seat = make_seat(stepper, job, ZEROS_AND_ONES)
    result = [stepped.result for _ in range(2) if not seat.step for stepped in stepper.step([seat])][-1]
    count = 10
    sums = [float(nll.sum()) for nll, _ in scored]
    means = sum(sums) / count if lane == "fused" else sum(part / count for part in sums)
    assert len(scored) == 2
    assert (result.loss, result.supervised_tokens) == (means, count)
    assert result.accuracy == sum(int(correct.sum()) for _, correct in scored) / count
    assert torch.equal(torch.cat(shares), torch.full((count,), 1 / count))


@pytest.mark.parametrize("first", [1, 3_000])
def test_a_token_of_weight_one_has_the_bits_of_one_over_the_count(first: int) -> None:
    counts = range(first, first + 3_000)
    ones = torch.ones(len(counts))
    scores = Scores(torch.zeros(len(counts)), torch.zeros(len(counts)), ones)
    got = scores.shares(torch.tensor([float(count) for count in counts], dtype=torch.float64))
    assert torch.equal(got, torch.tensor([1 / count for count in counts]))
    assert torch.equal(got, ones / torch.tensor(counts)), "the quotient in fp32, as autograd divides by a number"


@every_lane
def test_a_validation_file_is_scored_by_the_plain_formula(
    tmp_path: Path, tiny_base: BaseSpec, base: LoadedBase, job: JobSpec, lane: str
) -> None:
    rows = [*FRACTIONS, *OTHER]
    stepper = LANES[lane](base)
    seat = make_seat(stepper, job, FRACTIONS, rows)
    evaluation = Evaluation(rows, stepper.evaluate(seat))
    while not evaluation.done:
        evaluation.advance()
    wanted = plain(job, copies(seat.adapter.weights()), rows)
    assert evaluation.score(0) == Score(pytest.approx(wanted.loss, rel=1e-5), pytest.approx(wanted.accuracy, rel=1e-5))


@every_lane
def test_tokens_of_weight_zero_never_meet_the_vocabulary(
    job: JobSpec, base: LoadedBase, lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stepper, met, product = LANES[lane](base), [], token_loss._score

    def watch(hidden: Tensor, *rest: Any) -> Any:
        met.append(len(hidden))
        return product(hidden, *rest)

    monkeypatch.setattr(token_loss, "_score", watch)
    seat = make_seat(stepper, job, FRACTIONS)
    while not seat.step:
        stepper.step([seat])
    assert sum(met) == 10
