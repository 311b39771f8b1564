"""Seats share one base and nothing else."""

from pathlib import Path

import pytest

from tests.builders.driving import drain, losses, of_job, outcome_of, work_to_step
from tests.builders.specs import make_dataset, make_host_spec, make_job_spec, make_order, sum_rows
from tests.builders.waiting import wait_until
from workers.contract.base import BaseSpec, ComputeDtype, Quantization
from workers.contract.errors import ErrorCode, HostFull
from workers.contract.lanes import Lane
from workers.contract.reports import (
    CheckpointManifest,
    ExitClass,
    Heartbeat,
    HostPhase,
    Prepared,
    StepReport,
)
from workers.contract.spec import JobSpec
from workers.host import TrainingHost

pytestmark = pytest.mark.usefixtures("each_stepper")


def run_alone(folder: Path, spec: JobSpec) -> list[float | None]:
    host = TrainingHost(make_host_spec(folder, spec.base, quantization=spec.quantization))
    host.attach(make_order(spec))
    return losses(drain(host), spec.job_id)


def test_two_seats_of_different_ranks_train_on_one_load_of_the_base(tmp_path: Path, tiny_base: BaseSpec) -> None:
    validation = make_dataset(tmp_path / "validation.jsonl", sum_rows(5, start=40))
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="small", rank=2, validation=validation)))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="large", rank=8, validation=validation)))
    reports = drain(host)
    host.stop()
    state = host.poll(0)
    assert (state.base_loads, state.phase, state.seats) == (1, HostPhase.READY, ())
    for job_id, rank in (("small", 2), ("large", 8)):
        (prepared,) = of_job(reports, Prepared, job_id)
        assert prepared.total_steps == 6
        assert prepared.trainable_parameters == 2 * rank * ((64 + 64) + (64 + 32))  # q and v of two layers
        outcome = outcome_of(reports, job_id)
        assert outcome.exit_class is ExitClass.OK
        assert outcome.eval_loss_after < outcome.eval_loss_before - 0.1
        seen = losses(reports, job_id)
        assert len(seen) == 6
        assert seen[-1] < seen[0] - 0.1


def test_evaluation_and_checkpoints_come_at_their_intervals_and_at_the_end(tmp_path: Path, tiny_base: BaseSpec) -> None:
    validation = make_dataset(tmp_path / "validation.jsonl", sum_rows(5, start=40))
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    spec = make_job_spec(
        tmp_path, tiny_base, validation=validation, eval_interval_steps=4, checkpoint_interval_steps=2, n_epochs=2
    )
    host.attach(make_order(spec))
    reports = drain(host)
    steps = of_job(reports, StepReport, spec.job_id)
    assert [step.step for step in steps if step.full_valid_loss is not None] == [0, 4, 6]
    assert [saved.step for saved in of_job(reports, CheckpointManifest, spec.job_id)] == [2, 4, 6]
    assert steps[-1].epoch == 2.0
    assert all(step.tokens >= step.supervised_tokens > 0 for step in steps[1:])


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_another_seat_does_not_change_what_a_seat_computes(
    tmp_path: Path, tiny_base: BaseSpec, dropout: float, each_stepper: Lane
) -> None:
    """Bit for bit when seats step in turn; up to rounding from other matrix shapes when they share a pass."""
    spec = make_job_spec(tmp_path, tiny_base, job_id="watched", dropout=dropout)
    alone = run_alone(tmp_path, spec)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    rows = sum_rows(9, start=70)
    other = make_job_spec(
        tmp_path,
        tiny_base,
        job_id="other",
        rank=16,
        dropout=0.5,
        targets=("down_proj", "q_proj"),
        training=make_dataset(tmp_path / "other.jsonl", rows),
        seed=99,
    )
    host.attach(make_order(other))
    host.attach(make_order(spec))
    together = losses(drain(host), "watched")
    assert together == (alone if each_stepper is Lane.SOLO else pytest.approx(alone, rel=1e-6))


def test_a_later_slot_starts_from_the_same_weights(tmp_path: Path, tiny_base: BaseSpec) -> None:
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    for number in range(3):
        host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id=f"twin-{number}")))
    reports = drain(host)
    first = losses(reports, "twin-0")
    assert losses(reports, "twin-1") == first
    assert losses(reports, "twin-2") == first


def test_accumulation_gives_the_loss_and_gradient_of_the_whole_batch(tmp_path: Path, tiny_base: BaseSpec) -> None:
    rows = [
        *sum_rows(2),
        *[{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "z" * n}]} for n in (3, 40)],
    ]
    data = make_dataset(tmp_path / "uneven.jsonl", rows)
    traces = []
    for micro in (1, 2, 4):
        host = TrainingHost(make_host_spec(tmp_path, tiny_base))
        spec = make_job_spec(tmp_path, tiny_base, job_id=f"micro-{micro}", training=data, micro_batch_size=micro)
        host.attach(make_order(spec))
        steps = of_job(drain(host), StepReport, spec.job_id)
        traces.append([(step.train_loss, step.grad_norm, step.supervised_tokens) for step in steps])
    for trace in traces[1:]:
        for got, expected in zip(trace, traces[0], strict=True):
            assert got == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("quantization", [Quantization.NF4, Quantization.INT8])
def test_a_quantized_base_trains_and_evaluation_before_changes_nothing(
    tmp_path: Path, tiny_base: BaseSpec, quantization: Quantization
) -> None:
    validation = make_dataset(tmp_path / "validation.jsonl", sum_rows(5, start=40))
    traces = []
    for job_id, file in (("blind", None), ("evaluated", validation)):
        host = TrainingHost(make_host_spec(tmp_path, tiny_base, quantization=quantization))
        spec = make_job_spec(
            tmp_path, tiny_base, job_id=job_id, validation=file, quantization=quantization, eval_interval_steps=1
        )
        host.attach(make_order(spec))
        reports = drain(host)
        host.stop()  # verifies that the base kept its digest
        steps = [step for step in of_job(reports, StepReport, job_id) if step.step]
        assert all(step.grad_norm > 0 for step in steps)
        traces.append([(step.train_loss, step.grad_norm) for step in steps])
    assert traces[0] == traces[1]
    assert traces[0][-1][0] < traces[0][0][0]


def test_bf16_trains_with_adapters_in_fp32(tmp_path: Path, tiny_base: BaseSpec) -> None:
    host = TrainingHost(make_host_spec(tmp_path, tiny_base, compute_dtype=ComputeDtype.BF16))
    spec = make_job_spec(tmp_path, tiny_base, compute_dtype=ComputeDtype.BF16)
    host.attach(make_order(spec))
    seen = losses(drain(host), spec.job_id)
    assert seen[-1] < seen[0] - 0.1


def test_detach_ends_a_seat_and_leaves_the_other(tmp_path: Path, tiny_base: BaseSpec) -> None:
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    for job_id in ("stays", "preempted", "cancelled"):
        host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id=job_id, checkpoint_interval_steps=50)))
    for job_id in ("stays", "preempted", "cancelled"):
        work_to_step(host, job_id, 2)
    host.detach("preempted", 1, ExitClass.PREEMPTED)
    host.detach("preempted", 1, ExitClass.CANCELLED)
    host.detach("cancelled", 1, ExitClass.CANCELLED)
    reports = drain(host)
    assert outcome_of(reports, "stays").exit_class is ExitClass.OK
    assert outcome_of(reports, "preempted").exit_class is ExitClass.PREEMPTED
    assert outcome_of(reports, "cancelled").exit_class is ExitClass.CANCELLED
    assert [saved.step for saved in of_job(reports, CheckpointManifest, "preempted")] == [2]
    assert of_job(reports, CheckpointManifest, "cancelled") == []


def test_calls_are_idempotent_and_a_full_host_raises(tmp_path: Path, tiny_base: BaseSpec) -> None:
    host = TrainingHost(make_host_spec(tmp_path, tiny_base, max_seats=1))
    order = make_order(make_job_spec(tmp_path, tiny_base))
    host.attach(order)
    host.attach(order)
    with pytest.raises(HostFull, match="1 seats"):
        host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="late")))
    assert len(of_job(drain(host), Prepared, order.spec.job_id)) == 1
    host.attach(order)
    host.detach(order.spec.job_id, 1, ExitClass.CANCELLED)
    assert len(drain(host)) == len(drain(host))
    assert host.poll(0).seats == ()


def test_a_cancel_while_the_base_loads_needs_no_base(tmp_path: Path, tiny_base: BaseSpec) -> None:
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base)))
    host.detach("ftjob-1", 1, ExitClass.CANCELLED)
    reports = [numbered.report for numbered in host.poll(0).reports]
    assert outcome_of(reports, "ftjob-1").exit_class is ExitClass.CANCELLED
    assert host.poll(0).base_loads == 0


def test_polling_acknowledges_and_keeps_one_heartbeat_for_each_seat(tmp_path: Path, tiny_base: BaseSpec) -> None:
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    order = make_order(make_job_spec(tmp_path, tiny_base), lease_token="lease-9")
    host.attach(order)
    for _ in range(3):
        host.poll(0)
    beats = [n.report for n in host.poll(0).reports if isinstance(n.report, Heartbeat)]
    assert [(beat.phase, beat.step, beat.lease_token) for beat in beats] == [("waiting", 0, "lease-9")]
    host.run_once()
    host.run_once()
    first = host.poll(0).reports
    again = host.poll(first[-1].seq)
    assert [type(n.report) for n in again.reports] == [Heartbeat]
    assert all(n.seq > first[-1].seq for n in again.reports)
    assert all(n.report.lease_token == "lease-9" for n in first)


def test_a_seat_that_runs_too_long_is_stopped(tmp_path: Path, tiny_base: BaseSpec) -> None:
    now = [0.0]
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), clock=lambda: now[0])
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, max_runtime_s=60)))
    work_to_step(host, "ftjob-1", 2)
    now[0] = 61.0
    outcome = outcome_of(drain(host), "ftjob-1")
    assert (outcome.exit_class, outcome.error_code) == (ExitClass.USER, ErrorCode.MAX_RUNTIME_EXCEEDED)
    assert outcome.step == 2


def test_a_later_attempt_has_only_what_is_left_of_the_runtime(tmp_path: Path, tiny_base: BaseSpec) -> None:
    now = [0.0]
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), clock=lambda: now[0])
    order = make_order(make_job_spec(tmp_path, tiny_base, max_runtime_s=60))
    host.attach(order.model_copy(update={"runtime_left_s": 20.0}))
    work_to_step(host, "ftjob-1", 2)
    now[0] = 21.0
    outcome = outcome_of(drain(host), "ftjob-1")
    assert (outcome.error_code, outcome.step) == (ErrorCode.MAX_RUNTIME_EXCEEDED, 2)


def test_the_thread_does_the_same_work(tmp_path: Path, tiny_base: BaseSpec) -> None:
    spec = make_job_spec(tmp_path, tiny_base)
    alone = run_alone(tmp_path, spec)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.start()
    host.attach(make_order(spec))
    wait_until(lambda: host.poll(0).seats == (), "the end of the job", timeout_s=60.0)
    host.stop()
    assert losses([n.report for n in host.poll(0).reports], spec.job_id) == alone
