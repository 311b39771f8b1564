"""Drives a host without its thread, and reads its reports."""

from typing import TypeVar

from tests.builders.waiting import wait_until
from workers.contract.reports import Outcome, Report, SeatReport, StepReport
from workers.contract.spec import CheckpointRef
from workers.host import TrainingHost

ReportT = TypeVar("ReportT", bound=SeatReport)


def drain(host: TrainingHost, limit: int = 500) -> list[Report]:
    """Work until neither this thread nor the host's background threads have work. Returns the kept reports in order."""
    for _ in range(limit):
        wait_until(lambda: host.run_once() or not host.poll(0).seats, "work in other threads", 60.0, pause_s=0.005)
        if not host.poll(0).seats and not host.run_once():
            return [numbered.report for numbered in host.poll(0).reports]
    raise AssertionError(f"the host was still busy after {limit} units of work")


def of_job(reports: list[Report], kind: type[ReportT], job_id: str) -> list[ReportT]:
    """The reports of one kind about one job."""
    return [report for report in reports if isinstance(report, kind) and report.job_id == job_id]


def outcome_of(reports: list[Report], job_id: str) -> Outcome:
    """The job's only outcome."""
    (outcome,) = of_job(reports, Outcome, job_id)
    return outcome


def losses(reports: list[Report], job_id: str) -> list[float | None]:
    """Training losses of the job, step by step."""
    return [step.train_loss for step in of_job(reports, StepReport, job_id) if step.step > 0]


def as_ref(manifest: SeatReport) -> CheckpointRef:
    """The checkpoint reference that the control plane sends to the next attempt."""
    fields = manifest.model_dump(include={"uri", "step", "manifest_sha256"})
    return CheckpointRef(**fields)


def work_to_step(host: TrainingHost, job_id: str, step: int) -> None:
    """Work until the job has reported that step."""

    def reached() -> bool:
        reports = [numbered.report for numbered in host.poll(0).reports]
        return any(report.step >= step for report in of_job(reports, StepReport, job_id))

    wait_until(lambda: reached() or (host.run_once() and reached()), f"step {step} of {job_id}", 60.0, pause_s=0.001)
