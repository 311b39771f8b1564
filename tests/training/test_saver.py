"""Checkpoints are written in the background and reported only when complete."""

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.builders.driving import as_ref, drain, losses, of_job, outcome_of, work_to_step
from tests.builders.later import Later
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from workers.contract.backoff import Backoff
from workers.contract.base import BaseSpec
from workers.contract.errors import StorageUnavailable
from workers.contract.reports import CheckpointManifest, ExitClass, SeatWarning
from workers.engine import saver
from workers.engine.background import in_threads
from workers.host import TrainingHost
from workers.retry import RetryPolicy


def test_training_continues_while_a_checkpoint_is_written(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_is_free = threading.Event()
    write = saver.save_checkpoint

    def slowly(*parts: Any) -> CheckpointManifest:
        assert disk_is_free.wait(60)
        return write(*parts)

    monkeypatch.setattr(saver, "save_checkpoint", slowly)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), executor=in_threads)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, checkpoint_interval_steps=2)))
    work_to_step(host, "ftjob-1", 3)
    assert of_job([entry.report for entry in host.poll(0).reports], CheckpointManifest, "ftjob-1") == []
    disk_is_free.set()
    assert [saved.step for saved in of_job(drain(host), CheckpointManifest, "ftjob-1")] == [2, 4, 6]


def test_a_checkpoint_holds_the_step_it_was_taken_at_however_late_it_is_written(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="at-once", checkpoint_interval_steps=2)))
    at_once = of_job(drain(host), CheckpointManifest, "at-once")
    disk_is_free = threading.Event()
    write = saver.save_checkpoint
    monkeypatch.setattr(saver, "save_checkpoint", lambda *parts: disk_is_free.wait(60) and write(*parts))
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), executor=in_threads)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="late", checkpoint_interval_steps=2)))
    work_to_step(host, "late", 3)
    disk_is_free.set()
    late = of_job(drain(host), CheckpointManifest, "late")

    def weights(manifest: CheckpointManifest) -> str:
        return next(file.sha256 for file in manifest.files if file.path == "adapter.safetensors")

    assert [weights(manifest) for manifest in late] == [weights(manifest) for manifest in at_once]


def test_other_seats_train_while_an_adapter_is_written(tmp_path: Path, tiny_base: BaseSpec) -> None:
    writer = Later()
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), executor=writer.only("saver"))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="done", n_epochs=1, checkpoint_interval_steps=50)))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id="other", checkpoint_interval_steps=50)))
    work_to_step(host, "other", 6)
    assert host.poll(0).seats == ("done", "other")
    assert writer.run() == 4, "a checkpoint and an adapter of each"
    reports = drain(host)
    for job_id, step in (("done", 3), ("other", 6)):
        assert [saved.step for saved in of_job(reports, CheckpointManifest, job_id)] == [step]
        assert outcome_of(reports, job_id).exit_class is ExitClass.OK


def test_other_seats_train_while_the_checkpoint_of_a_preempted_seat_is_written(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    writer = Later()
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), executor=writer.only("saver"))
    specs = [
        make_job_spec(tmp_path, tiny_base, job_id=job_id, n_epochs=4, checkpoint_interval_steps=50)
        for job_id in ("leaves", "stays")
    ]
    for spec in specs:
        host.attach(make_order(spec))
    work_to_step(host, "leaves", 2)
    host.detach("leaves", 1, ExitClass.PREEMPTED)
    work_to_step(host, "stays", 9)
    assert host.poll(0).seats == ("leaves", "stays"), "it keeps its seat until its checkpoint is whole"
    assert writer.run() == 1
    work_to_step(host, "stays", 12)
    writer.run()
    reports = drain(host)
    (saved,) = of_job(reports, CheckpointManifest, "leaves")
    assert (saved.step, outcome_of(reports, "leaves").exit_class) == (2, ExitClass.PREEMPTED)
    assert len(losses(reports, "stays")) == 12
    again = TrainingHost(make_host_spec(tmp_path, tiny_base))
    again.attach(make_order(specs[0], attempt=2, resume_from=[as_ref(saved)]))
    assert len(losses(drain(again), "leaves")) == 10


def test_a_preempted_seat_saves_the_step_that_the_writer_had_skipped(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "BEHIND_S", -1.0)
    writer = Later()
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), executor=writer.only("saver"))
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, checkpoint_interval_steps=2)))
    work_to_step(host, "ftjob-1", 4)
    host.detach("ftjob-1", 1, ExitClass.PREEMPTED)
    for _ in range(2):
        host.run_once()
        assert writer.run() == 1, "of step 2, and then of step 4, which was passed over"
    reports = drain(host)
    assert [saved.step for saved in of_job(reports, CheckpointManifest, "ftjob-1")] == [2, 4]
    assert (outcome_of(reports, "ftjob-1").exit_class, outcome_of(reports, "ftjob-1").step) == (ExitClass.PREEMPTED, 4)


def test_a_seat_whose_checkpoints_cannot_be_written_trains_to_its_end_like_the_other_seat(
    tmp_path: Path, tiny_base: BaseSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "CHECKPOINT_RETRY", RetryPolicy(total_s=0.02, backoff=Backoff(0.01, 0.01)))
    write = saver.save_checkpoint

    def full(order: Any, *parts: Any) -> CheckpointManifest:
        if order.spec.job_id == "unlucky":
            raise StorageUnavailable("no space left")
        return write(order, *parts)

    monkeypatch.setattr(saver, "save_checkpoint", full)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    for job_id in ("unlucky", "lucky"):
        host.attach(make_order(make_job_spec(tmp_path, tiny_base, job_id=job_id, checkpoint_interval_steps=2)))
    reports = drain(host)
    assert [warning.step for warning in of_job(reports, SeatWarning, "unlucky")] == [2, 4, 6]
    assert [saved.step for saved in of_job(reports, CheckpointManifest, "lucky")] == [2, 4, 6]
    assert [outcome_of(reports, job_id).exit_class for job_id in ("unlucky", "lucky")] == [ExitClass.OK] * 2
