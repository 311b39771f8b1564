"""Invariants that hold after every transaction, as queries for violations.

The schema enforces what it can (CHECKs and unique indexes in `orchestrator.db.job_tables`). These rules span several
rows or depend on time. The tests, the simulator and the soak check them after every pass of the loops.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.orm import Session, aliased

from orchestrator.db.columns import RESIDENT_KEY
from orchestrator.db.encoding_tables import EncodingRow, EncodingState
from orchestrator.db.host_states import HostState
from orchestrator.db.job_tables import AttemptRow, CheckpointRow, EventRow, JobRow
from orchestrator.db.states import SEATED, TERMINAL, JobState
from orchestrator.db.tables import HostRow, UnusableBaseRow
from orchestrator.lifecycle.encoded import NEEDED

Subjects = Select[*tuple[Any, ...]]
"""Keys of the rows that violate a rule."""
LATE: Final = timedelta(seconds=120)
"""How late `EnforceDeadlines` may act. A pass takes seconds."""


@dataclass(frozen=True)
class Violation:
    """A violated rule and its subject: the id of a job, attempt (`job/number`), checkpoint or host."""

    name: str
    subject: str
    words: str


@dataclass(frozen=True)
class Rule:
    """`broken(now)` selects the subjects that violate the rule."""

    name: str
    words: str
    broken: Callable[[datetime], Subjects]


def violations(session: Session, now: datetime) -> list[Violation]:
    """Every current violation. Read-only."""
    return [
        Violation(rule.name, "/".join(str(part) for part in subject), rule.words)
        for rule in RULES
        for subject in session.execute(rule.broken(now))
    ]


_LIVE_JOB: Final = JobRow.finished_at.is_(None)
_LIVE: Final = AttemptRow.ended_at.is_(None)
_CURRENT: Final = and_(AttemptRow.job_id == JobRow.id, AttemptRow.number == JobRow.attempt)


def _jobs(*broken: ColumnElement[bool]) -> Subjects:
    return select(JobRow.id).where(*broken)


def _attempts(*broken: ColumnElement[bool]) -> Subjects:
    return select(AttemptRow.job_id, AttemptRow.number).join(JobRow, JobRow.id == AttemptRow.job_id).where(*broken)


def _checkpoints(*broken: ColumnElement[bool]) -> Subjects:
    return select(CheckpointRow.id).join(JobRow, JobRow.id == CheckpointRow.job_id).where(*broken)


def _count(column: Any, *of: ColumnElement[bool]) -> ColumnElement[int]:
    return select(func.count(column)).where(*of).correlate(JobRow, HostRow).scalar_subquery()


def _ended_badly(_now: datetime) -> Subjects:
    ends = _count(EventRow.seq, EventRow.job_id == JobRow.id, EventRow.moved_to.in_(TERMINAL))
    as_it_is = _count(EventRow.seq, EventRow.job_id == JobRow.id, EventRow.moved_to == JobRow.state)
    return _jobs(or_(and_(_LIVE_JOB, ends != 0), and_(~_LIVE_JOB, or_(ends != 1, as_it_is != 1))))


def _history_differs(_now: datetime) -> Subjects:
    moves = (EventRow.job_id == JobRow.id, EventRow.moved_to.is_not(None))
    newest = select(EventRow.moved_to).where(*moves).order_by(EventRow.seq.desc()).limit(1)
    return _jobs(exists().where(*moves), newest.correlate(JobRow).scalar_subquery() != JobRow.state)


def _no_such_attempt(_now: datetime) -> Subjects:
    return _attempts(or_(AttemptRow.number > JobRow.attempt, AttemptRow.number < 1))


def _seat_without_attempt(_now: datetime) -> Subjects:
    holder = exists().where(_CURRENT, _LIVE, AttemptRow.lease_token == JobRow.lease_token)
    return _jobs(JobRow.state.in_(SEATED), ~holder)


def _attempt_without_seat(_now: datetime) -> Subjects:
    return _attempts(_LIVE, or_(JobRow.state.not_in(SEATED), JobRow.attempt != AttemptRow.number))


def _overfull(_now: datetime) -> Subjects:
    taken = _count(AttemptRow.job_id, AttemptRow.host_id == HostRow.id, _LIVE)
    return select(HostRow.id).where(taken > HostRow.spec["max_seats"].as_integer())


def _on_a_dead_host(_now: datetime) -> Subjects:
    gone = exists().where(HostRow.id == AttemptRow.host_id, HostRow.state == HostState.GONE)
    return _attempts(_LIVE, gone)


def _half_dead(_now: datetime) -> Subjects:
    return select(HostRow.id).where((HostRow.state == HostState.GONE) != HostRow.ended_at.is_not(None))


def _overdue(now: datetime) -> Subjects:
    rested = and_(JobRow.state == JobState.BACKOFF, JobRow.not_before < now - LATE)
    return _jobs(_LIVE_JOB, or_(JobRow.state_deadline < now - LATE, rested))


def _orphan_checkpoint(_now: datetime) -> Subjects:
    maker = exists().where(AttemptRow.job_id == CheckpointRow.job_id, AttemptRow.number == CheckpointRow.attempt)
    return _checkpoints(or_(~maker, func.length(CheckpointRow.manifest_sha256) != 64))


def _resumed_from_nothing(_now: datetime) -> Subjects:
    source = exists().where(
        CheckpointRow.job_id == AttemptRow.job_id,
        CheckpointRow.attempt < AttemptRow.number,
        CheckpointRow.step == AttemptRow.resumed_from_step,
    )
    return _attempts(AttemptRow.resumed_from_step > 0, ~source)


def _newer_was_left_out(_now: datetime) -> Subjects:
    better = exists().where(
        CheckpointRow.job_id == AttemptRow.job_id,
        CheckpointRow.attempt < AttemptRow.number,
        CheckpointRow.step > AttemptRow.resumed_from_step,
        CheckpointRow.state == "committed",
    )
    return _attempts(_LIVE, JobRow.state == JobState.RUNNING, better)


def _deleted_too_soon(_now: datetime) -> Subjects:
    other = aliased(CheckpointRow)
    successor = exists().where(
        other.job_id == CheckpointRow.job_id,
        other.id != CheckpointRow.id,
        other.step >= CheckpointRow.step,
        other.state.in_(("committed", "corrupt")),
    )
    return _checkpoints(_LIVE_JOB, CheckpointRow.state.in_(("deleting", "deleted")), ~successor)


def _wrong_budget(_now: datetime) -> Subjects:
    ended = (AttemptRow.job_id == JobRow.id, AttemptRow.ended_at.is_not(None))
    own = _count(AttemptRow.job_id, *ended, AttemptRow.exit_class == "user")
    drawn = JobRow.user_failures + JobRow.infra_failures + JobRow.host_evictions
    return _jobs(or_(JobRow.user_failures > own, drawn > _count(AttemptRow.job_id, *ended)))


def _beyond_budget(_now: datetime) -> Subjects:
    return _jobs(
        _LIVE_JOB,
        or_(
            JobRow.user_failures > JobRow.max_user_retries,
            JobRow.infra_failures > JobRow.max_infra_retries,
            JobRow.host_evictions > JobRow.max_host_evictions,
        ),
    )


def _foreign(table: Any) -> Callable[[datetime], Subjects]:
    def broken(_now: datetime) -> Subjects:
        return select(table.job_id).join(JobRow, JobRow.id == table.job_id).where(table.tenant_id != JobRow.tenant_id)

    return broken


def _version_without_success(_now: datetime) -> Subjects:
    succeeded = JobRow.state == JobState.SUCCEEDED
    return _jobs(
        or_(
            and_(succeeded, JobRow.registry_version.is_(None)),
            and_(~succeeded, or_(JobRow.registry_version.is_not(None), JobRow.fine_tuned_model.is_not(None))),
        )
    )


def _version_of_two(_now: datetime) -> Subjects:
    other = aliased(JobRow)
    same = exists().where(
        other.id != JobRow.id,
        other.tenant_id == JobRow.tenant_id,
        other.registry_name == JobRow.registry_name,
        other.registry_version == JobRow.registry_version,
    )
    return _jobs(same)


def _kept_for_none(_now: datetime) -> Subjects:
    return _jobs(JobRow.kept_host_id.is_not(None), JobRow.state != JobState.QUEUED)


def _started_in_vain(_now: datetime) -> Subjects:
    key = (getattr(UnusableBaseRow, name) == getattr(HostRow, name) for name in RESIDENT_KEY)
    return select(HostRow.id).where(exists().where(*key, HostRow.created_at > UnusableBaseRow.marked_at))


def _queued_without_rows(_now: datetime) -> Subjects:
    done = [
        exists().where(EncodingRow.key == key, EncodingRow.state == EncodingState.DONE)
        for key in (JobRow.training_encoding, JobRow.validation_encoding)
    ]
    missing = or_(~done[0], and_(JobRow.validation_encoding.is_not(None), ~done[1]))
    return _jobs(JobRow.state == JobState.QUEUED, JobRow.training_encoding.is_not(None), missing)


def _encoding_of_none(_now: datetime) -> Subjects:
    gone = [
        and_(key.is_not(None), ~exists().where(EncodingRow.key == key))
        for key in (JobRow.training_encoding, JobRow.validation_encoding)
    ]
    return _jobs(_LIVE_JOB, or_(*gone))


def _foreign_encoding(_now: datetime) -> Subjects:
    return _jobs(exists().where(NEEDED, EncodingRow.tenant_id != JobRow.tenant_id))


RULES: Final = (
    Rule("I1", "a job has one event of its end if it is over, and none before", _ended_badly),
    Rule("I1", "a job is in the state of its newest transition event", _history_differs),
    Rule("I2", "no attempt is beyond the number its job counts", _no_such_attempt),
    Rule("I3", "a job with a seat has one live attempt, under the same lease token", _seat_without_attempt),
    Rule("I3", "a live attempt is the current one of a job with a seat", _attempt_without_seat),
    Rule("I4", "a host has no more live attempts than seats", _overfull),
    Rule("I6", "no live attempt is on a host that is gone", _on_a_dead_host),
    Rule("I6", "a host is gone exactly when it has ended", _half_dead),
    Rule("I7", "no state outlives its deadline", _overdue),
    Rule("I9", "a checkpoint has the digest of its manifest and an attempt that made it", _orphan_checkpoint),
    Rule("I10", "an attempt resumes from a checkpoint of an earlier one", _resumed_from_nothing),
    Rule("I10", "a running attempt resumed from the newest checkpoint there was", _newer_was_left_out),
    Rule("I11", "the newest checkpoint of a live job is not deleted", _deleted_too_soon),
    Rule("I12", "an end draws on one budget, and on the user's only if it was the user's", _wrong_budget),
    Rule("I13", "a live job is within its budgets", _beyond_budget),
    Rule("I14", "attempts belong to their job's tenant", _foreign(AttemptRow)),
    Rule("I14", "checkpoints belong to their job's tenant", _foreign(CheckpointRow)),
    Rule("I14", "events belong to their job's tenant", _foreign(EventRow)),
    Rule("I15", "a job has a version and a tuned model exactly when it succeeded", _version_without_success),
    Rule("I15", "a version belongs to one job", _version_of_two),
    Rule("I16", "no host is kept free for a job that is not queued", _kept_for_none),
    Rule("I18", "a queued job's files are encoded", _queued_without_rows),
    Rule("I18", "the encodings that a live job needs are there", _encoding_of_none),
    Rule("I18", "a job needs encodings of its own tenant only", _foreign_encoding),
    Rule("I17", "no host is started for a base while it is marked unusable", _started_in_vain),
)
