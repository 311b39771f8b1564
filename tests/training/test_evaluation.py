"""A validation file is scored in slices: other seats train in between, and the result is that of the whole file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.builders.driving import as_ref, drain, losses, of_job, outcome_of, work_to_step
from tests.builders.specs import make_dataset, make_host_spec, make_job_spec, make_order, sum_rows
from workers.bases import LoadedBase
from workers.contract.base import BaseSpec
from workers.contract.reports import CheckpointManifest, ExitClass, Heartbeat, Report, StepReport
from workers.contract.spec import JobSpec
from workers.engine.stepper import Stepper
from workers.host import TrainingHost
from workers.lanes.fused import FusedStepper
from workers.lanes.solo.stepper import SequentialStepper

ROWS = 12


def narrow(base: LoadedBase) -> Stepper:
    """A fused stepper whose passes have at most two rows."""
    return FusedStepper(base, budget_tokens=110)


def evaluating_job(folder: Path, base: BaseSpec, job_id: str = "evaluated", **changes: Any) -> JobSpec:
    validation = make_dataset(folder / "validation.jsonl", sum_rows(ROWS, start=40))
    return make_job_spec(folder, base, job_id=job_id, validation=validation, **changes)


def validation_losses(reports: list[Report], job_id: str = "evaluated") -> list[tuple[int, float]]:
    steps = of_job(reports, StepReport, job_id)
    return [(step.step, step.full_valid_loss) for step in steps if step.full_valid_loss is not None]


def phase_of(host: TrainingHost, job_id: str) -> str:
    return of_job([numbered.report for numbered in host.poll(0).reports], Heartbeat, job_id)[-1].phase


def work_to_phase(host: TrainingHost, job_id: str, phase: str) -> None:
    for _ in range(100):
        if phase_of(host, job_id) == phase:
            return
        host.run_once()
    raise AssertionError(f"{job_id} was never {phase}")


@pytest.mark.parametrize("stepper", [narrow, SequentialStepper])
def test_other_seats_train_between_the_slices(
    tmp_path: Path, tiny_base: BaseSpec, stepper: Callable[[LoadedBase], Stepper]
) -> None:
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), stepper=stepper)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="other", n_epochs=20, micro_batch_size=4)))
    work_to_step(host, "other", 1)
    host.attach(make_order(evaluating_job(tmp_path, tiny_base)))
    work_to_phase(host, "evaluated", "evaluating")
    before = len(losses([n.report for n in host.poll(0).reports], "other"))
    slices = 0
    while phase_of(host, "evaluated") == "evaluating":
        host.run_once()
        slices += 1
    after = len(losses([n.report for n in host.poll(0).reports], "other"))
    assert slices >= ROWS // 2 - 1
    assert after - before >= slices // 2, "a pass of the other seat may hold half a step"


def test_the_result_is_the_same_for_every_slicing(tmp_path: Path, tiny_base: BaseSpec) -> None:
    found = []
    for stepper in (narrow, lambda base: FusedStepper(base, budget_tokens=100_000), SequentialStepper):
        host = TrainingHost(make_host_spec(tmp_path, tiny_base), stepper=stepper)
        host.attach(make_order(evaluating_job(tmp_path, tiny_base)))
        found.append(validation_losses(drain(host)))
    assert [step for step, _ in found[0]] == [0, 3, 6]
    for other in found[1:]:
        assert [loss for _, loss in other] == pytest.approx([loss for _, loss in found[0]], rel=1e-5)


def test_the_bits_of_a_deterministic_job_do_not_depend_on_the_host_s_budget(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    found = []
    for stepper in (narrow, lambda base: FusedStepper(base, budget_tokens=100_000)):
        host = TrainingHost(make_host_spec(tmp_path, tiny_base), stepper=stepper)
        host.attach(make_order(evaluating_job(tmp_path, tiny_base, deterministic=True)))
        found.append(validation_losses(drain(host)))
    assert found[0] == found[1]


def test_a_step_and_its_evaluation_are_one_report(tmp_path: Path, tiny_base: BaseSpec) -> None:
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), stepper=narrow)
    host.attach(make_order(evaluating_job(tmp_path, tiny_base)))
    steps = of_job(drain(host), StepReport, "evaluated")
    assert [step.step for step in steps] == [0, 1, 2, 3, 4, 5, 6]
    assert [step.train_loss is not None for step in steps] == [False] + 6 * [True]


def test_a_seat_that_ends_during_an_evaluation_reports_its_step_and_evaluates_when_it_resumes(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    straight_host = TrainingHost(make_host_spec(tmp_path, tiny_base), stepper=narrow)
    straight_host.attach(make_order(evaluating_job(tmp_path, tiny_base, checkpoint_interval_steps=50)))
    straight = drain(straight_host)
    spec = evaluating_job(tmp_path, tiny_base, checkpoint_interval_steps=50)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), stepper=narrow)
    host.attach(make_order(spec, attempt=2))
    work_to_step(host, "evaluated", 2)
    work_to_phase(host, "evaluated", "evaluating")
    host.detach("evaluated", 2, ExitClass.PREEMPTED)
    left = drain(host)
    assert losses(left, "evaluated") == losses(straight, "evaluated")[:3]
    assert [step for step, _ in validation_losses(left)] == [0]
    (saved,) = of_job(left, CheckpointManifest, "evaluated")
    assert (saved.step, saved.full_valid_loss) == (3, None)
    again = TrainingHost(make_host_spec(tmp_path, tiny_base), stepper=narrow)
    again.attach(make_order(spec, attempt=3, resume_from=[as_ref(saved)]))
    resumed = drain(again)
    assert validation_losses(resumed) == validation_losses(straight)[1:]
    assert outcome_of(resumed, "evaluated").eval_loss_before == outcome_of(straight, "evaluated").eval_loss_before
