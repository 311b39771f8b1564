"""Applies seat reports in the transaction that advances the host's cursor, so that each counts once."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orchestrator.checkpoints.states import CheckpointState, mark_corrupt, mark_verified
from orchestrator.db.job_tables import AttemptRow, CheckpointRow, JobRow
from orchestrator.db.states import SEATED, Desired, JobState
from orchestrator.hosts.event_messages import checkpoint_event, choice_events, prepared_events, step_event
from orchestrator.ids import new_id
from orchestrator.issues.job_report import record_issues, whole_report
from orchestrator.lifecycle.attempts import Seated, close_attempt, end_attempt, occupied_s, start_clock
from orchestrator.lifecycle.events import EventDraft, record
from orchestrator.lifecycle.retry_policy import AttemptEnd
from orchestrator.lifecycle.transition import JobRef, amend, transition
from orchestrator.usage.meter import enter_step, start_meter
from workers.contract.errors import FAULTS_OF_A_BASE, ErrorCode
from workers.contract.issues import FileRole
from workers.contract.reports import (
    CheckpointManifest,
    CheckpointRejected,
    ExitClass,
    Outcome,
    Prepared,
    Report,
    SeatWarning,
    StepReport,
)
from workers.contract.rows import RowIssue
from workers.contract.spec import JobSpec

RUNTIME_GRACE_S: Final = 600
"""Grace after `max_runtime_s`, which the host itself enforces, before the control plane stops the job."""
_BAD_FILE: Final = "The file has rows that cannot be used"
_RETRYABLE_NOT = FAULTS_OF_A_BASE | {ErrorCode.NO_GRADIENT}


def apply_report(session: Session, report: Report, now: datetime) -> bool:
    """Write `report`, unless it is a heartbeat: those only tell `ReportIngest` which seats are taken.

    False: the attempt no longer holds the job, and nothing was written.
    """
    seated = _holder(session, report)
    return seated is not None and _APPLY[type(report)](session, seated, report, now)


def _holder(session: Session, report: Report) -> Seated | None:
    current = (JobRow.attempt == report.attempt, JobRow.lease_token == report.lease_token, JobRow.state.in_(SEATED))
    row = session.scalars(
        select(JobRow).where(JobRow.id == report.job_id, *current).execution_options(populate_existing=True)
    ).one_or_none()
    return None if row is None else Seated(row, JobRef.of(row))


def _prepared(session: Session, seated: Seated, report: Prepared, now: datetime) -> bool:
    ref: JobRef | None = seated.ref
    if ref and ref.state is JobState.ADMITTED:  # attached, but the process died before writing STARTING
        ref = transition(session, ref, JobState.STARTING, EventDraft("Preparing the data"), now=now)
        if ref:
            start_clock(session, ref, now)
    if ref is None or ref.state is not JobState.STARTING:
        return False
    first, *more = prepared_events(report, seated.row.reached_step)
    limit_s = JobSpec.model_validate(seated.row.spec).limits.max_runtime_s
    left_s = max(limit_s - occupied_s(session, ref.id, now), 0.0)
    changes: dict[str, Any] = {
        "total_steps": report.total_steps,
        "step": report.resumed_from_step,
        "state_deadline": now + timedelta(seconds=left_s + RUNTIME_GRACE_S),
    }
    if seated.row.started_at is None:
        changes["started_at"] = now
    if not transition(session, ref, JobState.RUNNING, first, now=now, **changes):
        return False
    for event in more:
        record(session, ref.tenant_id, ref.id, event, now)
    where = (AttemptRow.job_id == ref.id, AttemptRow.number == ref.attempt)
    session.execute(update(AttemptRow).where(*where).values(resumed_from_step=report.resumed_from_step))
    start_meter(session, seated.row, report, now)
    mark_verified(session, ref.id, report.resumed_from_step, now)
    return True


def _stepped(session: Session, seated: Seated, report: StepReport, now: datetime) -> bool:
    if not amend(session, seated.ref, step=report.step):
        return False
    where = (AttemptRow.job_id == report.job_id, AttemptRow.number == report.attempt)
    session.execute(update(AttemptRow).where(*where).values(last_step=report.step))
    first = (
        AttemptRow.rate_from.is_(None) | (AttemptRow.rate_from == now),
        AttemptRow.resumed_from_step < report.step,
    )
    session.execute(update(AttemptRow).where(*where, *first).values(rate_from_step=report.step, rate_from=now))
    enter_step(session, seated.row, report, now)
    record(session, seated.ref.tenant_id, report.job_id, step_event(report), now)
    return True


def _checkpointed(session: Session, seated: Seated, report: CheckpointManifest, now: datetime) -> bool:
    metrics = {
        "step": report.step,
        "train_loss": report.train_loss,
        "full_valid_loss": report.full_valid_loss,
        "full_valid_mean_token_accuracy": report.full_valid_mean_token_accuracy,
    }
    session.add(
        CheckpointRow(
            id=new_id("ftckpt_"),
            tenant_id=seated.ref.tenant_id,
            job_id=report.job_id,
            attempt=report.attempt,
            step=report.step,
            uri=report.uri,
            manifest_sha256=report.manifest_sha256,
            metrics={name: value for name, value in metrics.items() if value is not None},
            state=CheckpointState.COMMITTED,
            created_at=now,
        )
    )
    record(session, seated.ref.tenant_id, report.job_id, checkpoint_event(report), now)
    if report.step > seated.row.reached_step:  # progress: reset the consecutive failure counts
        amend(session, seated.ref, reached_step=report.step, infra_failures=0, host_evictions=0)
    return True


def _rejected(session: Session, seated: Seated, report: CheckpointRejected, now: datetime) -> bool:
    mark_corrupt(session, report.job_id, report.uri)
    event = EventDraft(f"Checkpoint at step {report.step} cannot be used: {report.why}", level="warn")
    record(session, seated.ref.tenant_id, report.job_id, event, now)
    return True


def _warned(session: Session, seated: Seated, report: SeatWarning, now: datetime) -> bool:
    event = EventDraft(report.message, level="warn", data={"step": report.step})
    record(session, seated.ref.tenant_id, report.job_id, event, now)
    return True


def _ended(session: Session, seated: Seated, report: Outcome, now: datetime) -> bool:
    if report.exit_class is ExitClass.OK and seated.row.desired != Desired.CANCEL:
        return _trained(session, seated, report, now)
    message = report.message
    if report.details:
        issues = [RowIssue.model_validate(detail) for detail in report.details]
        record_issues(session, seated.row, {_role(report): issues}, now)
        message = f"{(message or _BAD_FILE).rstrip('.')}. {whole_report(report.job_id, len(issues))}"
    retryable = report.error_code not in _RETRYABLE_NOT
    return end_attempt(session, seated, AttemptEnd(report.exit_class, report.error_code, message, retryable), now)


def _role(report: Outcome) -> FileRole:
    in_validation = report.error_code is ErrorCode.INVALID_VALIDATION_FILE
    return FileRole.VALIDATION if in_validation else FileRole.TRAINING


def _trained(session: Session, seated: Seated, report: Outcome, now: datetime) -> bool:
    if report.adapter is None:
        lost = AttemptEnd(ExitClass.INFRA, ErrorCode.INTERNAL, "The host reported success without an adapter.")
        return end_attempt(session, seated, lost, now)
    event = EventDraft("Training finished, publishing the adapter", data={"step": report.step})
    changes: dict[str, Any] = {
        "step": report.step,
        "adapter": report.adapter.model_dump(mode="json"),
        "eval_loss_before": report.eval_loss_before,
        "eval_loss_after": report.eval_loss_after,
        "best_step": report.best_step,
        "stopped_early": report.stopped_early,
        "trained_tokens": report.trained_tokens,
        "not_before": None,
    }
    if report.stopped_early:
        changes["total_steps"] = report.step  # no more steps follow
    if not transition(session, seated.ref, JobState.PUBLISHING, event, now=now, **changes):
        return False
    for choice in choice_events(report, JobSpec.model_validate(seated.row.spec).training):
        record(session, seated.ref.tenant_id, report.job_id, choice, now)
    close_attempt(session, seated.ref, ExitClass.OK, None, now)
    return True


_APPLY: dict[type[Report], Callable[[Session, Seated, Any, datetime], bool]] = {
    Prepared: _prepared,
    StepReport: _stepped,
    CheckpointManifest: _checkpointed,
    CheckpointRejected: _rejected,
    SeatWarning: _warned,
    Outcome: _ended,
}
