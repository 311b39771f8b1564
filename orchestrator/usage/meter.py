"""The meter: enters into the ledger what a seat reports, and at the end of an attempt what of it was in vain.

A minute of the ledger is the minute in which reports were applied: hosts send no time, and their clocks are not ours.
The meter of an attempt starts when its seat begins to train, not while it waits for a base to load or tokenizes.

Callers have written the job's row in the same transaction before, so writers of one attempt come one after the other.
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
    """The seat trains from now on. Repeating changes nothing.

    Steps that an earlier attempt is billed for and that come again, since its newest checkpoint turned out unusable,
    are lost after all, unless that attempt ended through the tenant's own fault.
    """
    if _newest(session, job.id, report.attempt) is not None:
        return
    by = (AttemptRow.job_id == UsageRow.job_id) & (AttemptRow.number == UsageRow.attempt)
    faultless = select(UsageRow).join(AttemptRow, by).where(AttemptRow.exit_class.in_(SERVICE_FAULT))
    for row in session.scalars(faultless.where(UsageRow.job_id == job.id, UsageRow.step > report.resumed_from_step)):
        _mark_lost(row, report.resumed_from_step)
    _open(session, job, report.attempt, report.resumed_from_step, now)


def enter_step(session: Session, job: JobRow, report: StepReport, now: datetime) -> None:
    """Add the tokens of a step, and the time since the report before. A step that was entered before adds nothing.

    A seat that was asked to stop before it said that it trains, and then took a step all the same, is metered from it.
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
    """The attempt has ended: its meter runs until now, or, where the host was lost, until its last report. If the end
    was the service's doing, what lies beyond the attempt's newest committed checkpoint is marked as lost.
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
    """Mark what lies beyond `kept_step`, None for all of it. What is lost stays lost."""
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
    """The row of this minute, with the time in the seat entered up to now. A clock set back adds no time."""
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
