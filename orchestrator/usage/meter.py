"""The meter: records usage from seat reports in the ledger, and marks lost usage when an attempt ends.

A ledger minute is the minute in which reports were applied: hosts send no time, because their clocks may differ.
An attempt's meter starts when its seat begins to train, not while it waits for a base to load or tokenizes.

Callers write the job's row earlier in the same transaction, which serializes the writers of one attempt.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from orchestrator.db.effect_tables import UsageRow
from orchestrator.db.job_tables import AttemptRow, CheckpointRow, JobRow
from orchestrator.db.tables import HostRow
from orchestrator.usage.losses import SERVICE_FAULT, lost, lost_share
from workers.contract.reports import ExitClass, Prepared, StepReport

MINUTE_S: Final = 60


def minute_of(now: datetime) -> int:
    """Whole minutes since 1970."""
    return int(now.timestamp()) // MINUTE_S


def start_meter(session: Session, job: JobRow, report: Prepared, now: datetime) -> None:
    """The seat trains from now on. Idempotent.

    If the newest checkpoint of an earlier attempt turned out unusable, its billed steps are repeated. They are now
    marked as lost, unless the tenant caused that attempt's end.
    """
    if _newest(session, job.id, report.attempt) is not None:
        return
    by = (AttemptRow.job_id == UsageRow.job_id) & (AttemptRow.number == UsageRow.attempt)
    faultless = select(UsageRow).join(AttemptRow, by).where(AttemptRow.exit_class.in_(SERVICE_FAULT))
    for row in session.scalars(faultless.where(UsageRow.job_id == job.id, UsageRow.step > report.resumed_from_step)):
        _mark_lost(row, report.resumed_from_step)
    _open(session, job, report.attempt, report.resumed_from_step, now)


def enter_step(session: Session, job: JobRow, report: StepReport, now: datetime) -> None:
    """Add the tokens of a step and the time since the last report. A step that was already entered adds nothing.

    A seat that was told to stop before it reported `Prepared`, but still took a step, is metered from that step.
    """
    last = _newest(session, job.id, report.attempt)
    if last is None:
        last = _open(session, job, report.attempt, max(report.step - 1, 0), now)
    if report.step < last.step:
        return
    is_new = report.step > last.step
    row = _run(session, last, now)
    if is_new:
        row.tokens += report.tokens
        row.supervised_tokens += report.supervised_tokens
        row.step = report.step


def stop_meter(session: Session, job_id: str, attempt: int, exit_class: ExitClass, now: datetime) -> None:
    """The attempt has ended: meter it until now, or until its last report if the host was lost. If the service caused
    the end, mark usage beyond the attempt's newest committed checkpoint as lost.
    """
    last = _newest(session, job_id, attempt)
    if last is None:
        return
    if exit_class is not ExitClass.INFRA:
        _run(session, last, now)
    if exit_class not in SERVICE_FAULT:
        return
    saved = (CheckpointRow.job_id == job_id, CheckpointRow.attempt == attempt, CheckpointRow.state == "committed")
    committed = session.scalar(select(func.max(CheckpointRow.step)).where(*saved))
    for row in session.scalars(select(UsageRow).where(UsageRow.job_id == job_id, UsageRow.attempt == attempt)):
        _mark_lost(row, committed)


def _mark_lost(row: UsageRow, kept_step: int | None) -> None:
    """Mark usage beyond `kept_step` as lost; None: all of it. Lost usage stays lost."""
    share = lost_share(row.step_before, row.step, kept_step)
    part = lost(share, row.tokens, row.supervised_tokens, row.seat_seconds)
    row.lost_tokens = max(row.lost_tokens, part.tokens)
    row.lost_supervised_tokens = max(row.lost_supervised_tokens, part.supervised_tokens)
    row.lost_seat_seconds = max(row.lost_seat_seconds, part.seat_seconds)


def _newest(session: Session, job_id: str, attempt: int) -> UsageRow | None:
    rows = select(UsageRow).where(UsageRow.job_id == job_id, UsageRow.attempt == attempt)
    return session.scalars(rows.order_by(UsageRow.minute.desc()).limit(1)).first()


def _open(session: Session, job: JobRow, attempt: int, step: int, now: datetime) -> UsageRow:
    """The first row of an attempt that has finished `step` steps."""
    seat = (AttemptRow.job_id == job.id, AttemptRow.number == attempt)
    flavor = session.scalars(select(HostRow.flavor).join(AttemptRow, AttemptRow.host_id == HostRow.id).where(*seat))
    row = UsageRow(
        job_id=job.id,
        attempt=attempt,
        minute=minute_of(now),
        tenant_id=job.tenant_id,
        base_id=job.base_id,
        flavor=flavor.one(),
        step_before=step,
        step=step,
        metered_until=now,
        **_NOTHING,
    )
    session.add(row)
    return row


def _run(session: Session, last: UsageRow, now: datetime) -> UsageRow:
    """The row of this minute, with seat time up to now. A clock that was set back adds no time."""
    row, minute = last, minute_of(now)
    if minute > last.minute:
        row = UsageRow(
            job_id=last.job_id,
            attempt=last.attempt,
            minute=minute,
            tenant_id=last.tenant_id,
            base_id=last.base_id,
            flavor=last.flavor,
            step_before=last.step,
            step=last.step,
            **_NOTHING,
        )
        session.add(row)
    row.seat_seconds += max((now - last.metered_until).total_seconds(), 0.0)
    row.metered_until = max(now, last.metered_until)
    return row


_NOTHING: Final = {
    "tokens": 0,
    "supervised_tokens": 0,
    "seat_seconds": 0.0,
    "lost_tokens": 0,
    "lost_supervised_tokens": 0,
    "lost_seat_seconds": 0.0,
}
