"""Storage outages: training continues, and the attempt survives everything that can wait."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.builders.driving import as_ref, drain, of_job, outcome_of, work_to_step
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from tests.builders.waiting import wait_until
from workers import storage
from workers.contract.backoff import Backoff
from workers.contract.base import BaseSpec
from workers.contract.errors import ErrorCode, StorageUnavailable
from workers.contract.reports import CheckpointManifest, CheckpointRejected, ExitClass, Report, SeatWarning, StepReport
from workers.engine import prefetcher as ahead
from workers.engine import saver
from workers.engine.background import in_threads
from workers.host import TrainingHost
from workers.retry import RetryPolicy

QUICK = Backoff(first_s=0.01, longest_s=0.02)
BRIEF = RetryPolicy(total_s=0.05, backoff=QUICK)
LASTING = RetryPolicy(total_s=60, backoff=QUICK)


class Outage:
    """While `writing`, every write fails, and every read of a URI that contains `reading`. Records what failed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writing, self.reading = False, "nothing"
        self.failures: list[str] = []
        publish, opened = storage._publish_local, storage._opened
        monkeypatch.setattr(storage, "_publish_local", lambda *parts: self._unless(self.writing, publish, *parts))
        monkeypatch.setattr(storage, "_opened", lambda uri: self._unless(self.reading in uri, opened, uri))

    def _unless(self, away: bool, work: Any, *parts: Any) -> Any:
        if not away:
            return work(*parts)
        self.failures.append(str(parts[-1]))
        raise ConnectionRefusedError("no server listens")


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    for module, name in ((saver, "CHECKPOINT_RETRY"), (saver, "ADAPTER_RETRY"), (ahead, "RETRY_FOR")):
        monkeypatch.setattr(module, name, BRIEF)
    return Outage(monkeypatch)


@pytest.fixture
def host(tmp_path: Path, tiny_base: BaseSpec) -> TrainingHost:
    return TrainingHost(make_host_spec(tmp_path, tiny_base))


def told(host: TrainingHost) -> list[Report]:
    return [entry.report for entry in host.poll(0).reports]


def work_until(host: TrainingHost, probe: Callable[[], Any], what: str) -> None:
    """Run the host together with its background threads until `probe` is true."""

    def probed() -> Any:
        host.run_once()
        return probe()

    wait_until(probed, what, pause_s=0.01)


def test_a_checkpoint_that_is_given_up_gives_a_warning_and_later_ones_are_written(
    tmp_path: Path, tiny_base: BaseSpec, host: TrainingHost, outage: Outage
) -> None:
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, checkpoint_interval_steps=2)))
    outage.writing = True
    work_to_step(host, "ftjob-1", 4)
    outage.writing = False
    reports = drain(host)
    assert outage.failures
    warnings = of_job(reports, SeatWarning, "ftjob-1")
    assert [warning.step for warning in warnings] == [2, 4]
    assert "step 2" in warnings[0].message
    assert [saved.step for saved in of_job(reports, CheckpointManifest, "ftjob-1")] == [6]
    assert outcome_of(reports, "ftjob-1").exit_class is ExitClass.OK


def test_training_does_not_wait_for_a_checkpoint_that_is_retried(
    tmp_path: Path, tiny_base: BaseSpec, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "CHECKPOINT_RETRY", LASTING)
    monkeypatch.setattr(saver, "ADAPTER_RETRY", LASTING)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), executor=in_threads)
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, checkpoint_interval_steps=2)))
    outage.writing = True
    work_until(host, lambda: outage.failures, "the first checkpoint met the outage")
    work_until(host, lambda: any(step.step == 6 for step in of_job(told(host), StepReport, "ftjob-1")), "the last step")
    assert of_job(told(host), CheckpointManifest, "ftjob-1") == []
    outage.writing = False
    work_until(host, lambda: not host.poll(0).seats, "the end of the seat")
    assert [saved.step for saved in of_job(told(host), CheckpointManifest, "ftjob-1")] == [2]
    assert outcome_of(told(host), "ftjob-1").exit_class is ExitClass.OK


@pytest.mark.parametrize(("back", "saved", "warned"), [(True, [2], [2]), (False, [], [2, 2])])
def test_a_preempted_seat_whose_checkpoint_was_given_up_tries_once_more_before_it_ends(
    tmp_path: Path,
    tiny_base: BaseSpec,
    host: TrainingHost,
    outage: Outage,
    back: bool,
    saved: list[int],
    warned: list[int],
) -> None:
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, checkpoint_interval_steps=2)))
    outage.writing = True
    work_to_step(host, "ftjob-1", 2)
    outage.writing = not back
    host.detach("ftjob-1", 1, ExitClass.PREEMPTED)
    reports = drain(host)
    assert [warning.step for warning in of_job(reports, SeatWarning, "ftjob-1")] == warned
    assert [manifest.step for manifest in of_job(reports, CheckpointManifest, "ftjob-1")] == saved
    outcome = outcome_of(reports, "ftjob-1")
    assert (outcome.exit_class, outcome.step) == (ExitClass.PREEMPTED, 2)


def test_an_adapter_that_cannot_be_written_for_long_is_an_infrastructure_failure(
    tmp_path: Path, tiny_base: BaseSpec, host: TrainingHost, outage: Outage
) -> None:
    host.attach(make_order(make_job_spec(tmp_path, tiny_base)))
    outage.writing = True
    outcome = outcome_of(drain(host), "ftjob-1")
    assert (outcome.exit_class, outcome.error_code) == (ExitClass.INFRA, ErrorCode.STORAGE_UNAVAILABLE)
    assert outcome.step == 6
    assert len(outage.failures) > 3


def test_a_new_seat_waits_during_a_storage_outage_and_keeps_its_attempt(
    tmp_path: Path, tiny_base: BaseSpec, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead, "RETRY_FOR", LASTING)
    host = TrainingHost(make_host_spec(tmp_path, tiny_base), executor=in_threads)
    order = make_order(make_job_spec(tmp_path, tiny_base))
    outage.reading = "-encoded/"
    host.attach(order)
    work_until(host, lambda: len(outage.failures) > 2, "the rows were asked for again and again")
    assert host.poll(0).seats == ("ftjob-1",)
    outage.reading = "nothing"
    work_until(host, lambda: not host.poll(0).seats, "the end of the seat")
    assert outcome_of(told(host), "ftjob-1").exit_class is ExitClass.OK


def test_a_storage_outage_makes_no_checkpoint_corrupt(
    tmp_path: Path, tiny_base: BaseSpec, host: TrainingHost, outage: Outage
) -> None:
    spec = make_job_spec(tmp_path, tiny_base)
    host.attach(make_order(spec))
    refs = [as_ref(saved) for saved in of_job(drain(host), CheckpointManifest, spec.job_id)]
    outage.reading = "/step-"
    again = TrainingHost(make_host_spec(tmp_path, tiny_base))
    again.attach(make_order(spec, attempt=2, resume_from=refs[::-1]))
    reports = drain(again)
    assert of_job(reports, CheckpointRejected, spec.job_id) == []
    assert outcome_of(reports, spec.job_id).error_code is ErrorCode.STORAGE_UNAVAILABLE


def test_a_full_disk_is_named_and_leaves_the_previous_checkpoint_intact(
    tmp_path: Path, tiny_base: BaseSpec, host: TrainingHost, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.attach(make_order(make_job_spec(tmp_path, tiny_base, checkpoint_interval_steps=2)))
    work_to_step(host, "ftjob-1", 3)
    before = {path: path.read_bytes() for path in (tmp_path / "jobs").rglob("*") if path.is_file()}

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(storage, "_copy", full)
        work_to_step(host, "ftjob-1", 5)
    (warning,) = of_job(told(host), SeatWarning, "ftjob-1")
    assert "no space is left" in warning.message
    assert {path: path.read_bytes() for path in (tmp_path / "jobs").rglob("*") if path.is_file()} == before
    assert outcome_of(drain(host), "ftjob-1").exit_class is ExitClass.OK


def test_an_ended_seat_stops_its_retries(outage: Outage) -> None:
    unwanted = threading.Event()
    unwanted.set()
    calls: list[int] = []

    def away() -> None:
        calls.append(1)
        raise StorageUnavailable

    with pytest.raises(StorageUnavailable):
        LASTING.call(away, unwanted)
    assert len(calls) == 1
