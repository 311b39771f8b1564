"""Seats that join, leave, idle or fail do not change another seat."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders.driving import as_ref, drain, losses, of_job, outcome_of, work_to_step
from tests.builders.encoded import encode_training
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from workers.bases import load_base
from workers.contract.base import BaseSpec
from workers.contract.reports import CheckpointManifest, ExitClass, Report
from workers.data.batches import BatchPlan, collate
from workers.data.text_encoder import TextEncoder
from workers.engine.seat import Seat
from workers.engine.stepper import StepResult
from workers.host import TrainingHost
from workers.lanes.fused import FusedStepper
from workers.lanes.fused import stepper as fused_stepper
from workers.lanes.fused.linears import AdaptedLinears
from workers.lanes.fused.stack import MOST_SLOTS
from workers.lanes.fused.stepper import AccumulationWindow


def trace(reports: list[Report], job_id: str = "watched") -> list[float | None]:
    return losses(reports, job_id)


def alone(folder: Path, base: BaseSpec, **changes: Any) -> list[float | None]:
    host = TrainingHost(make_host_spec(folder, base))
    host.attach(make_order(make_job_spec(folder, base, job_id="watched", **changes)))
    return trace(drain(host))


def test_a_seat_that_joins_and_one_that_leaves_during_training_change_nothing(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    wanted = alone(tmp_path / "alone", tiny_base)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base, max_seats=16))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="leaves", rank=8, n_epochs=20)))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="watched")))
    work_to_step(host, "watched", 2)
    for number in range(6):
        host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id=f"comes-{number}", seed=number)))
    work_to_step(host, "comes-5", 1)
    host.detach("leaves", 1, ExitClass.CANCELLED)
    assert trace(drain(host)) == pytest.approx(wanted, rel=1e-6)


def test_a_seat_that_is_not_due_stays_the_same_to_the_last_bit(tmp_path: Path, tiny_base: BaseSpec) -> None:
    base = load_base(make_host_spec(tmp_path, tiny_base))
    stepper = FusedStepper(base, budget_tokens=10_000)
    idle, busy = (make_seat(stepper, base, tmp_path, tiny_base, name) for name in ("idle", "busy"))
    stepper.step([idle, busy])
    kept = {name: weight.clone() for name, weight in {**idle.adapter.weights(), **idle.adapter.moments()}.items()}
    for _ in range(6):
        stepper.step([busy])
    now = {**idle.adapter.weights(), **idle.adapter.moments()}
    assert busy.step > 1
    assert all(torch.equal(now[name], kept[name]) for name in kept)


def make_seat(
    stepper: FusedStepper, base: Any, folder: Path, spec: BaseSpec, job_id: str, fair_weight: int = 1, **changes: Any
) -> Seat:
    job = make_job_spec(folder, spec, job_id=job_id, **({"n_epochs": 10, "weight_decay": 0.1} | changes))
    job = job.model_copy(update={"fair_weight": fair_weight})
    rows = encode_training(TextEncoder(base.tokenizer, None), job.data).rows
    return Seat(make_order(job), stepper.open(job), BatchPlan(rows, job.training, job.seed, 0, collate), ())


def test_an_optimizer_step_that_fails_changes_no_bit_of_the_other_seats_steps(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    base = load_base(make_host_spec(tmp_path, tiny_base))

    def weights_beside(*, fails: bool) -> dict[str, torch.Tensor]:
        stepper = FusedStepper(base, budget_tokens=10_000)
        seats = [make_seat(stepper, base, tmp_path, tiny_base, name) for name in ("first", "watched")]
        if fails:
            seats[0].adapter.optimizer = None  # type: ignore[attr-defined]
        stepped = [each for _ in range(2) for each in stepper.step(seats)]
        assert [isinstance(each.result, StepResult) for each in stepped] == [not fails, True]
        weights = {name: weight.clone() for name, weight in seats[1].adapter.weights().items()}
        for seat in seats:
            stepper.close(seat.adapter)
        return weights

    wanted, got = weights_beside(fails=False), weights_beside(fails=True)
    assert all(torch.equal(got[name], weight) for name, weight in wanted.items())


def test_running_out_of_memory_splits_the_pass_and_ends_no_seat(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = alone(tmp_path / "alone", tiny_base)
    run = FusedStepper._run

    def cramped(self: FusedStepper, windows: list[AccumulationWindow]) -> None:
        if len(windows) > 2:
            raise torch.OutOfMemoryError("no memory")
        run(self, windows)

    monkeypatch.setattr(FusedStepper, "_run", cramped)
    monkeypatch.setattr(fused_stepper, "measure_knee", lambda run_pass: 4_096)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base, max_seats=8))
    names = ["watched", "a", "b", "c"]
    for name in names:
        host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id=name)))
    reports = drain(host)
    assert [outcome_of(reports, name).exit_class for name in names] == [ExitClass.OK] * 4
    assert trace(reports) == pytest.approx(wanted, rel=1e-6)


def test_a_deterministic_job_gives_the_same_bits_among_any_seats_and_over_a_resume(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    changes: dict[str, Any] = {"deterministic": True, "dropout": 0.1, "checkpoint_interval_steps": 3}
    wanted = alone(tmp_path / "alone", tiny_base, **changes)
    spec = make_job_spec(tmp_path, tiny_base, job_id="watched", **changes)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="other", rank=8)))
    host.attach(make_order(spec))
    reports = drain(host)
    assert trace(reports) == wanted
    saved = [as_ref(manifest) for manifest in of_job(reports, CheckpointManifest, "watched") if manifest.step == 3]
    again = TrainingHost(make_host_spec(tmp_path, tiny_base))
    again.attach(make_order(spec, attempt=2, resume_from=saved))
    assert trace(drain(again)) == wanted[3:]


def test_every_seat_is_served_although_the_budget_holds_only_two(tmp_path: Path, tiny_base: BaseSpec) -> None:
    base = load_base(make_host_spec(tmp_path, tiny_base))
    stepper = FusedStepper(base, budget_tokens=200)
    seats = [make_seat(stepper, base, tmp_path, tiny_base, f"job-{number}") for number in range(5)]
    for _ in range(30):
        assert all(isinstance(stepped.result, StepResult) for stepped in stepper.step(seats))
    steps = [seat.step for seat in seats]
    assert min(steps) > 0
    assert max(steps) - min(steps) <= 1


def test_tokens_go_by_the_weights_of_tenants_while_both_have_work(tmp_path: Path, tiny_base: BaseSpec) -> None:
    base = load_base(make_host_spec(tmp_path, tiny_base))
    stepper = FusedStepper(base, budget_tokens=200)
    seats = [
        make_seat(
            stepper, base, tmp_path, tiny_base, f"{tenant}-{n}", tenant_id=tenant, fair_weight=weight, n_epochs=50
        )
        for tenant, weight, count in (("heavy", 2, 2), ("light", 1, 4))
        for n in range(count)
    ]
    for _ in range(100):
        stepper.step(seats)
    heavy, light = (sum(s.trained_tokens for s in seats if s.spec.tenant_id == name) for name in ("heavy", "light"))
    assert heavy / light == pytest.approx(2, rel=0.15)
    assert min(seat.step for seat in seats) > 0


def test_slots_are_reused_zeroed_and_a_full_stack_leads_to_another(tmp_path: Path, tiny_base: BaseSpec) -> None:
    job = make_job_spec(tmp_path, tiny_base)
    linears = AdaptedLinears(load_base(make_host_spec(tmp_path, tiny_base)))
    adapters = [linears.open(job) for _ in range(MOST_SLOTS + 1)]
    assert len({id(adapter.stack) for adapter in adapters}) == 2
    first = adapters[0]
    first.row.data.fill_(1.0)
    first.stack.gradients[first.slot].fill_(1.0)
    linears.close(first)
    again = linears.open(job)
    assert (again.stack, again.slot) == (first.stack, first.slot)
    assert not bool(again.stack.gradients[again.slot].any())
    assert all(not bool(weight.any()) for name, weight in again.weights().items() if ".lora_B." in name)
