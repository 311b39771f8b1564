"""A seat that fails ends alone, with an error code for the cause."""

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16

from tests.builders.driving import drain, losses, of_job, outcome_of
from tests.builders.encoded import encode_to_store
from tests.builders.specs import (
    chat_row,
    make_base_spec,
    make_dataset,
    make_host_spec,
    make_job_spec,
    make_order,
    sum_rows,
)
from workers.bases import load
from workers.contract.base import BaseSpec, ComputeDtype, Quantization
from workers.contract.errors import DataError, ErrorCode, NonFiniteLoss
from workers.contract.reports import ExitClass, HostPhase, Prepared
from workers.contract.spec import HostSpec, Overlength, TrainingSpec
from workers.engine.guards import require_finite
from workers.engine.optimizer import make_adamw, update
from workers.engine.seat import Seat
from workers.host import TrainingHost
from workers.lanes.fused import FusedStepper
from workers.lanes.solo import stepper as turns
from workers.methods import WeightRule

pytestmark = pytest.mark.usefixtures("each_stepper")


def poison(monkeypatch: pytest.MonkeyPatch, job_id: str, at_step: int, harm: Any) -> None:
    """Call `harm(seat)` right before the given step of one job, in any stepper."""

    def harmed(seat: Seat) -> None:
        if seat.spec.job_id == job_id and seat.step == at_step:
            harm(seat)

    alone, fused = turns.SequentialStepper._train, FusedStepper._run

    def train(self: turns.SequentialStepper, seat: Seat) -> Any:
        harmed(seat)
        return alone(self, seat)

    def run(self: FusedStepper, windows: Any) -> None:
        for window in windows:
            harmed(window.seat)
        fused(self, windows)

    monkeypatch.setattr(turns.SequentialStepper, "_train", train)
    monkeypatch.setattr(FusedStepper, "_run", run)


def break_weights(seat: Seat) -> None:
    with torch.no_grad():
        next(iter(seat.adapter.weights().values())).fill_(float("nan"))


def out_of_memory(seat: Seat) -> None:
    raise torch.OutOfMemoryError("no memory")


def out_of_host_memory(seat: Seat) -> None:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")


def out_of_memory_for_moments(seat: Seat) -> None:
    """The pass succeeds; then the optimizer runs out of memory for its moments."""
    seat.adapter.optimizer.step = lambda: out_of_memory(seat)  # type: ignore[attr-defined]


def surprise_in_the_optimizer(seat: Seat) -> None:
    seat.adapter.optimizer.step = lambda: surprise(seat)  # type: ignore[attr-defined]


def surprise(seat: Seat) -> None:
    raise KeyError("secret row content")


@pytest.mark.parametrize(
    ("harm", "at_step", "exit_class", "code"),
    [
        (break_weights, 2, ExitClass.USER, ErrorCode.NON_FINITE_LOSS),
        (out_of_memory, 1, ExitClass.INFRA, ErrorCode.OUT_OF_MEMORY),
        (out_of_host_memory, 1, ExitClass.INFRA, ErrorCode.OUT_OF_MEMORY),
        (surprise, 1, ExitClass.INFRA, ErrorCode.INTERNAL),
        (out_of_memory_for_moments, 0, ExitClass.INFRA, ErrorCode.OUT_OF_MEMORY),
        (surprise_in_the_optimizer, 1, ExitClass.INFRA, ErrorCode.INTERNAL),
    ],
)
def test_one_seat_fails_and_the_other_computes_the_same(
    tmp_path: Path,
    tiny_base: BaseSpec,
    monkeypatch: pytest.MonkeyPatch,
    harm: Any,
    at_step: int,
    exit_class: ExitClass,
    code: ErrorCode,
) -> None:
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="healthy")))
    alone = losses(drain(host), "healthy")
    poison(monkeypatch, "sick", at_step, harm)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="sick", seed=1)))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="healthy")))
    reports = drain(host)
    host.stop()
    outcome = outcome_of(reports, "sick")
    assert (outcome.exit_class, outcome.error_code, outcome.step) == (exit_class, code, at_step)
    assert "secret" not in outcome.message
    assert outcome_of(reports, "healthy").exit_class is ExitClass.OK
    assert losses(reports, "healthy") == pytest.approx(alone, rel=1e-6)


def load_repacked(spec: HostSpec) -> load.LoadedBase:
    """The effect of one evaluation pass on 4-bit weights on such CPUs: they have no backward afterwards."""
    base = load.load_base(spec)
    base.model.eval()
    with torch.no_grad():
        base.model(input_ids=torch.tensor([[3, 4, 5]]))
    base.model.train()
    return base


@pytest.mark.skipif(not has_avx512bf16(), reason="bitsandbytes repacks weights only on CPUs with AVX512-BF16")
def test_a_base_that_does_not_propagate_back_is_noticed_at_the_first_step(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_keep_trainable", lambda model: None)
    nf4 = Quantization.NF4
    host = TrainingHost(make_host_spec(tmp_path, tiny_base, quantization=nf4), load=load_repacked)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, quantization=nf4)))
    outcome = outcome_of(drain(host), "ftjob-1")
    assert (outcome.error_code, outcome.step) == (ErrorCode.NO_GRADIENT, 0)


def test_an_evaluation_leaves_the_base_trainable_even_without_the_guard(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_keep_trainable", lambda model: None)
    validation = make_dataset(tmp_path / "validation.jsonl", sum_rows(4, start=40))
    nf4 = Quantization.NF4
    host = TrainingHost(make_host_spec(tmp_path, tiny_base, quantization=nf4))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, validation=validation, quantization=nf4)))
    assert outcome_of(drain(host), "ftjob-1").exit_class is ExitClass.OK
    host.stop()


def test_a_loss_that_diverges_names_the_step_and_the_lines(tmp_path: Path, tiny_base: BaseSpec) -> None:
    with pytest.raises(NonFiniteLoss, match=r"step 3 is inf \(rows of line 2, 7\)"):
        require_finite(float("inf"), "the training loss of step 3", [7, 2])


def test_a_gradient_that_diverges_names_the_step_and_the_lines_and_touches_no_weight() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, float("nan")])
    training = TrainingSpec()
    with pytest.raises(NonFiniteLoss, match=r"the gradient of step 3 is nan \(rows of line 2, 7\)"):
        update(make_adamw({WeightRule(): [weight]}, training), training, 0.1, 3, [7, 2])
    assert torch.equal(weight.detach(), torch.ones(2))


def test_every_row_that_is_too_long_is_listed(tmp_path: Path, tiny_base: BaseSpec) -> None:
    rows = sum_rows(6)
    rows[1] = chat_row("why?", "x" * 200)
    rows[4] = chat_row("y" * 200, "no")
    data = make_dataset(tmp_path / "long.jsonl", rows)
    with pytest.raises(DataError, match="max_seq_len is 64") as caught:
        encode_to_store(make_job_spec(tmp_path, tiny_base, training=data, max_seq_len=64))
    assert [(issue.line, issue.code) for issue in caught.value.issues] == [(2, "too_long"), (5, "too_long")]


def test_truncating_and_dropping_are_counted_and_rows_left_without_loss_are_errors(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    rows = sum_rows(6)
    rows[1] = chat_row("why?", "x" * 200)
    long_answer = make_dataset(tmp_path / "answer.jsonl", rows)
    rows[4] = chat_row("y" * 200, "no")
    long_question = make_dataset(tmp_path / "question.jsonl", rows)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    for job_id, policy, data in (
        ("truncate", Overlength.TRUNCATE, long_answer),
        ("drop", Overlength.DROP, long_question),
    ):
        spec = make_job_spec(tmp_path, tiny_base, job_id=job_id, training=data, overlength=policy, max_seq_len=64)
        host.attach(make_order(spec))
    reports = drain(host)
    (truncated,) = of_job(reports, Prepared, "truncate")
    assert (truncated.training_rows, truncated.truncated_rows, truncated.dropped_rows) == (6, 1, 0)
    (dropped,) = of_job(reports, Prepared, "drop")
    assert (dropped.training_rows, dropped.truncated_rows, dropped.dropped_rows) == (4, 0, 2)
    spec = make_job_spec(tmp_path, tiny_base, training=long_question, overlength=Overlength.TRUNCATE, max_seq_len=64)
    with pytest.raises(DataError) as caught:
        encode_to_store(spec)
    assert [(issue.line, issue.code) for issue in caught.value.issues] == [(5, "no_trainable_tokens")]


def test_a_file_changed_after_validation_is_not_trained_on(tmp_path: Path, tiny_base: BaseSpec) -> None:
    data = make_dataset(tmp_path / "rows.jsonl")
    (tmp_path / "rows.jsonl").write_text('{"messages": []}\n')
    with pytest.raises(DataError, match="changed after it was validated"):
        encode_to_store(make_job_spec(tmp_path, tiny_base, training=data))


def test_unknown_target_modules_are_named_with_those_there_are(tmp_path: Path, tiny_base: BaseSpec) -> None:
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="wrong", targets=("q_proj", "c_attn", "lm_head"))))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="right")))
    reports = drain(host)
    outcome = outcome_of(reports, "wrong")
    assert outcome.error_code is ErrorCode.INVALID_TARGET_MODULES
    assert "c_attn, lm_head" in outcome.message
    assert "down_proj" in outcome.message
    assert outcome_of(reports, "right").exit_class is ExitClass.OK


def test_a_base_that_does_not_load_fails_the_host_and_everyone_waiting(tmp_path: Path, tiny_base: BaseSpec) -> None:
    gone = tiny_base.model_copy(update={"source": f"file:{tmp_path / 'gone'}"})
    host = TrainingHost(make_host_spec(tmp_path, gone))
    host.attach(make_order(make_job_spec(tmp_path, gone, job_id="before")))
    host.run_once()
    host.attach(make_order(make_job_spec(tmp_path, gone, job_id="after")))
    reports = drain(host)
    state = host.poll(0)
    assert (state.phase, state.error_code, state.base_loads) == (HostPhase.FAILED, ErrorCode.BASE_UNUSABLE, 0)
    for job_id in ("before", "after"):
        outcome = outcome_of(reports, job_id)
        assert (outcome.exit_class, outcome.error_code) == (ExitClass.INFRA, ErrorCode.BASE_UNUSABLE)


@pytest.mark.parametrize(
    "changes",
    [{"quantization": Quantization.NF4}, {"compute_dtype": ComputeDtype.BF16}, {"base": make_base_spec("other")}],
)
def test_a_job_placed_on_the_wrong_host_is_not_trained(
    tmp_path: Path, tiny_base: BaseSpec, changes: dict[str, Any]
) -> None:
    spec = make_job_spec(tmp_path, tiny_base).model_copy(update=changes)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(spec))
    outcome = outcome_of(drain(host), "ftjob-1")
    assert (outcome.exit_class, outcome.error_code) == (ExitClass.INFRA, ErrorCode.BASE_UNAVAILABLE)
    assert "host-1 holds tiny none fp32" in outcome.message
