"""When memory is short, passes get smaller, then recompute. A host reports its memory."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders.driving import drain, losses, outcome_of, work_to_step
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from workers.bases import load_base
from workers.contract.base import BaseSpec
from workers.contract.memory import LOGIT_BYTES, Footprint
from workers.contract.reports import ExitClass
from workers.host import TrainingHost
from workers.lanes.fused import FusedStepper
from workers.lanes.fused import stepper as fused_stepper
from workers.lanes.fused.recompute import Recomputation

KNEE = 1_000
FOOTPRINT = Footprint(resident_bytes=0, activation_bytes=10_000, recomputed_bytes=100, vocab_size=1)


@pytest.fixture
def recomputed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Records for each pass whether it recomputes. Knee and footprint are fixed, not measured."""
    passes: list[bool] = []
    when = Recomputation.when

    @contextmanager
    def watched(self: Recomputation, wanted: bool) -> Iterator[None]:
        passes.append(wanted)
        with when(self, wanted):
            yield

    monkeypatch.setattr(Recomputation, "when", watched)
    monkeypatch.setattr(fused_stepper, "measure_knee", lambda run_pass: KNEE)
    monkeypatch.setattr(fused_stepper, "measure_footprint", lambda base, probe, can_recompute: FOOTPRINT)
    return passes


def host_with(folder: Path, base: BaseSpec, memory_bytes: int | None) -> TrainingHost:
    spec = make_host_spec(folder, base, max_seats=8)
    return TrainingHost(spec.model_copy(update={"memory_bytes": memory_bytes}))


def train(folder: Path, base: BaseSpec, memory_bytes: int | None, **changes: Any) -> list[float | None]:
    host = host_with(folder, base, memory_bytes)
    host.attach(make_order(make_job_spec(folder, base, **changes)))
    reports = drain(host)
    assert outcome_of(reports, "ftjob-1").exit_class is ExitClass.OK
    return losses(reports, "ftjob-1")


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_host_short_of_memory_recomputes_and_the_numbers_are_the_same_to_the_last_bit(
    tmp_path: Path, tiny_base: BaseSpec, recomputed: list[bool], dropout: float
) -> None:
    wanted = train(tmp_path / "ample", tiny_base, None, dropout=dropout)
    assert not any(recomputed)
    recomputed.clear()
    assert train(tmp_path / "tight", tiny_base, 300_000, dropout=dropout) == wanted
    assert recomputed
    assert all(recomputed)


def test_seats_take_from_the_budget_and_give_it_back(
    tmp_path: Path, tiny_base: BaseSpec, recomputed: list[bool]
) -> None:
    host = host_with(tmp_path, tiny_base, 10_000_000)
    host.run_once()
    budgets = [host.poll(0).budget_tokens]
    for number in range(2):
        host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id=f"job-{number}", rank=32, n_epochs=5)))
        work_to_step(host, f"job-{number}", 1)
        budgets.append(host.poll(0).budget_tokens)
    drain(host)
    assert budgets[0] == 10_000_000 // (10_000 + LOGIT_BYTES)
    assert budgets == sorted(budgets, reverse=True)
    assert len(set(budgets)) == 3
    assert host.poll(0).budget_tokens == budgets[0]


def test_a_pass_that_does_not_fit_is_recomputed_before_its_seat_is_given_up(
    tmp_path: Path, tiny_base: BaseSpec, recomputed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = train(tmp_path / "ample", tiny_base, None)
    run = FusedStepper._forward_backward

    def cramped(self: FusedStepper, *arguments: Any) -> Any:
        if not recomputed[-1]:
            raise torch.OutOfMemoryError("no memory")
        return run(self, *arguments)

    recomputed.clear()
    monkeypatch.setattr(FusedStepper, "_forward_backward", cramped)
    assert train(tmp_path / "tight", tiny_base, None) == pytest.approx(wanted, rel=1e-6)
    assert recomputed[0] is False
    assert all(recomputed[1:])


def test_layers_are_left_unchanged(tmp_path: Path, tiny_base: BaseSpec) -> None:
    base = load_base(make_host_spec(tmp_path, tiny_base))
    recomputation = Recomputation(base.model.eval())
    assert recomputation.possible
    with recomputation.when(True):
        assert any(module.training for module in base.model.modules())
    assert not any(module.training for module in base.model.modules())


def test_a_host_reports_what_it_measured(tmp_path: Path, tiny_base: BaseSpec) -> None:
    host = host_with(tmp_path, tiny_base, 8 * 10**9)
    assert host.poll(0).footprint is None
    host.run_once()
    report = host.poll(0)
    assert report.footprint is not None
    assert report.footprint.recomputed_bytes <= report.footprint.activation_bytes
    assert 100_000_000 < report.footprint.resident_bytes <= 1.5 * report.memory_bytes
    assert report.budget_tokens is not None
    host.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_eight_seats_of_mixed_ranks_stay_within_what_the_model_says() -> None:
    """In its own process, on a base whose passes are large enough to stand out from the libraries."""
    command = [sys.executable, "-m", "tests.builders.seats_memory"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=560)
    assert done.returncode == 0, done.stderr[-4_000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["peak_bytes"] <= found["measured_bytes"] <= 1.5 * found["peak_bytes"], found
    assert found["peak_bytes"] <= found["estimated_bytes"] <= 2 * found["peak_bytes"], found
