"""How a host retires: on request, or by itself when it is no longer polled."""

import threading
from pathlib import Path

import pytest
import torch

from tests.builders.driving import drain, of_job, outcome_of, work_to_step
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from workers import dead_man_switch
from workers.bases import LoadedBase, load_base
from workers.contract.base import BaseSpec
from workers.contract.errors import HostFull
from workers.contract.reports import CheckpointManifest, ExitClass, HostPhase
from workers.contract.spec import HostSpec
from workers.host import TrainingHost


class Ticks:
    """A clock that only the test advances."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def make_host(folder: Path, base: BaseSpec, **options: object) -> TrainingHost:
    spec = make_host_spec(folder, base).model_copy(update={"orchestrator_timeout_s": 100.0})
    return TrainingHost(spec, **options)  # type: ignore[arg-type]


def test_a_host_asked_to_retire_saves_its_seats_and_finds_its_base_intact(tmp_path: Path, tiny_base: BaseSpec):
    host = make_host(tmp_path, tiny_base)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base)))
    work_to_step(host, "ftjob-1", 2)
    host.retire()
    with pytest.raises(HostFull, match="retiring"):
        host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="ftjob-2")))
    reports = drain(host)
    assert outcome_of(reports, "ftjob-1").exit_class is ExitClass.PREEMPTED
    assert of_job(reports, CheckpointManifest, "ftjob-1")[-1].step == outcome_of(reports, "ftjob-1").step
    answer = host.poll(0)
    assert (answer.phase, answer.base_intact, answer.seats) == (HostPhase.RETIRED, True, ())


def test_a_host_whose_base_changed_reports_it(tmp_path: Path, tiny_base: BaseSpec):
    kept: list[LoadedBase] = []

    def load(spec: HostSpec) -> LoadedBase:
        kept.append(load_base(spec))
        return kept[0]

    host = make_host(tmp_path, tiny_base, load=load)
    host.run_once()
    with torch.no_grad():
        next(kept[0].model.parameters()).view(-1)[0] += 1
    host.retire()
    drain(host)
    assert (host.poll(0).phase, host.poll(0).base_intact) == (HostPhase.RETIRED, False)


def test_a_host_that_has_not_loaded_yet_retires_without_a_verdict(tmp_path: Path, tiny_base: BaseSpec):
    host = make_host(tmp_path, tiny_base)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base)))
    host.retire()
    reports = drain(host)
    assert outcome_of(reports, "ftjob-1").exit_class is ExitClass.PREEMPTED
    assert (host.poll(0).phase, host.poll(0).base_intact) == (HostPhase.RETIRED, None)


def test_a_host_that_is_no_longer_polled_saves_its_seats_and_retires(tmp_path: Path, tiny_base: BaseSpec):
    ticks = Ticks()
    host = make_host(tmp_path, tiny_base, clock=ticks)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base)))
    work_to_step(host, "ftjob-1", 2)
    ticks.now += 99
    assert host.run_once()
    assert host.poll(0).seats == ("ftjob-1",)
    ticks.now += 101
    while host.run_once():
        pass
    answer = host.poll(0)
    assert (answer.phase, answer.base_intact) == (HostPhase.RETIRED, True)
    reports = [numbered.report for numbered in answer.reports]
    assert outcome_of(reports, "ftjob-1").exit_class is ExitClass.PREEMPTED
    assert of_job(reports, CheckpointManifest, "ftjob-1")


def test_a_started_host_that_is_not_polled_exits(tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dead_man_switch, "LOOK_S", 0.01)
    left = threading.Event()
    spec = make_host_spec(tmp_path, tiny_base).model_copy(update={"orchestrator_timeout_s": 0.05})
    host = TrainingHost(spec, leave=left.set)
    host.start()
    assert left.wait(60)
    host.stop()
