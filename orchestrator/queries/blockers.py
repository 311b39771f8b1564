"""Explains what blocks a job. Pure: depends only on the job and a few counts of other jobs and hosts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState, StopReason
from orchestrator.lifecycle.turns import HEADS


class Constraint(StrEnum):
    """What a job waits for."""

    NOTHING = "nothing"
    """It proceeds without help, or is over."""
    VALIDATION = "validation"
    """Its files are being validated."""
    TURN = "turn"
    """Other jobs of its tenant for the same base are ahead, and the planner has not reached it yet."""
    DRAIN = "drain"
    """Where it could go, no job is placed until one that waited too long has its place there."""
    SEAT = "seat"
    """Hosts hold its base, and none has room."""
    DEVICE = "device"
    """No host holds its base, and no device is free for one."""
    PLACEMENT = "placement"
    """It cannot run on the configured flavors."""
    HOST = "host"
    """Its host is starting, or has not reported yet."""
    RETRY = "retry"
    """A pause between two attempts."""
    OWNER = "owner"
    """It was paused."""
    OPERATOR = "operator"
    """Its tenant is suspended."""
    REGISTRY = "registry"
    """Its adapter waits to be published."""


@dataclass(frozen=True)
class EncodingFacts:
    """How far a job's files are turned into tokens."""

    running: bool
    rows_read: int
    failures: int
    """Of machines, in a row."""
    next_try: datetime | None


@dataclass(frozen=True)
class JobFacts:
    """The inputs of the answer: the job, and only counts of others."""

    job: JobRow
    ahead: int = 0
    """Queued jobs that have a turn before it, were all of them to fit."""
    in_line: int = 0
    """Those of them that are its own tenant's and for the same base in the same precision."""
    queued: int = 0
    loading: bool = False
    """The job's own host has not loaded its base yet."""
    rows: int = 0
    """Of both of its files."""
    encoding: EncodingFacts | None = None
    """While it is validated, once its files are checked."""
    last_warning: str | None = None
    """The newest warning event in this state."""
    base_is_marked: bool = False
    """Hosts found its base unusable in the way it asks for, so it would end as soon as it waits for a seat."""


@dataclass(frozen=True)
class Blocker:
    """A constraint and its explanation."""

    constraint: Constraint
    reason: str
    unblocks: str | None = None


_STOPS: Final = {
    StopReason.CANCEL: "was cancelled",
    StopReason.PAUSE: "was paused",
    StopReason.SUSPEND: "belongs to a tenant that the operator suspended",
    StopReason.SHUTDOWN: "leaves because the service is being stopped",
    StopReason.RUNTIME: "has used up its max_runtime_s",
    StopReason.STUCK: "made no progress",
}


def explain_blocker(facts: JobFacts, now: datetime) -> Blocker:
    """What keeps the job where it is at `now`."""
    return _ANSWERS[JobState(facts.job.state)](facts, now)


def _validating(facts: JobFacts, now: datetime) -> Blocker:
    encoding = facts.encoding
    if encoding is None:
        reason = "Its files are being read and compared; if they are good, their rows are turned into tokens."
        return Blocker(Constraint.VALIDATION, reason)
    if encoding.running:
        read = f"{encoding.rows_read:,} of {facts.rows:,}"
        return Blocker(
            Constraint.VALIDATION, f"Its rows are being turned into tokens: {read}. Then it joins the queue."
        )
    if encoding.next_try is not None and encoding.next_try > now:
        reason = f"Turning its rows into tokens failed {encoding.failures} times, through no fault of its files."
        return Blocker(Constraint.VALIDATION, reason, f"The next try, {_at(encoding.next_try)}.")
    return Blocker(Constraint.VALIDATION, "Its files are checked and wait for an encoder.", "An encoder that is free.")


def _queued(facts: JobFacts, _: datetime) -> Blocker:
    job = facts.job
    if job.desired != Desired.RUN:
        return _asked_to_leave(job)
    if job.queue_reason is None or job.queue_constraint is None or facts.in_line >= HEADS:
        return _in_line(facts)
    constraint = Constraint(job.queue_constraint)
    if job.kept_host_id is not None:
        return Blocker(constraint, job.queue_reason, "Jobs that train there end. None is placed there before it.")
    return Blocker(constraint, job.queue_reason, f"{_UNBLOCKS[constraint].format(base=job.base_id)}{_turn(facts)}")


_UNBLOCKS: Final = {
    Constraint.SEAT: "A seat on a host that holds {base}.",
    Constraint.DEVICE: "A free device for a host of {base}.",
    Constraint.DRAIN: "The job that has waited there for longest is placed, or leaves the queue.",
    Constraint.PLACEMENT: "Cancel it and ask for less memory or another base, or have your operator add a flavor or "
    "the base.",
}
"""By the constraint that the planner found."""


def _turn(facts: JobFacts) -> str:
    if facts.job.queue_constraint == Constraint.PLACEMENT:
        return ""
    return f" {facts.ahead} job(s) have a turn before it." if facts.ahead else " It has the next turn."


def _in_line(facts: JobFacts) -> Blocker:
    if not facts.in_line:
        return Blocker(Constraint.TURN, "The planner has not reached it yet.", "The planner's next pass.")
    before = f"{facts.in_line} of your jobs for {facts.job.base_id} are ahead of it in the queue."
    return Blocker(Constraint.TURN, before, "The jobs ahead of it are placed, or end.")


_ASKED: Final = {Desired.CANCEL: "cancelled", Desired.PAUSE: "paused", Desired.SUSPEND: "suspended"}


def _asked_to_leave(job: JobRow) -> Blocker:
    what = _ASKED[Desired(job.desired)]
    return Blocker(Constraint.NOTHING, f"It holds no seat and is {what} at the next pass.")


def _backoff(facts: JobFacts, _: datetime) -> Blocker:
    if facts.job.desired != Desired.RUN:
        return _asked_to_leave(facts.job)
    reason = facts.last_warning or "Its last attempt was interrupted."
    return Blocker(Constraint.RETRY, reason, f"It returns to the queue {_at(facts.job.not_before)}.")


def _admitted(facts: JobFacts, _: datetime) -> Blocker:
    if facts.loading:
        reason = f"A seat is reserved for it on a host that is still loading {facts.job.base_id}."
        return Blocker(
            Constraint.HOST, reason, f"The host finishes loading. Otherwise another host is tried {_by(facts.job)}."
        )
    return Blocker(Constraint.NOTHING, "A seat is reserved for it on a warm host, which starts it next.")


def _starting(_: JobFacts, __: datetime) -> Blocker:
    return Blocker(Constraint.NOTHING, "Its host has taken it in and fetches its rows. Training follows.")


def _running(facts: JobFacts, _: datetime) -> Blocker:
    job = facts.job
    steps = f"step {job.step} of {job.total_steps}" if job.total_steps else f"step {job.step}"
    if job.desired == Desired.RUN:
        return Blocker(Constraint.NOTHING, f"It is training: {steps} is done.")
    what = _ASKED[Desired(job.desired)]
    return Blocker(Constraint.HOST, f"It is being {what} after {steps}.", "Its host finishes the current step.")


def _stopping(facts: JobFacts, _: datetime) -> Blocker:
    job = facts.job
    why = _STOPS[StopReason(job.stop_reason)] if job.stop_reason else "is vacating its seat"
    reason = f"It {why}; its host finishes the current step and saves a checkpoint."
    return Blocker(Constraint.HOST, reason, f"The host reports the result. Otherwise the host is stopped {_by(job)}.")


def _paused(facts: JobFacts, _: datetime) -> Blocker:
    job = facts.job
    if job.desired == Desired.RUN:
        return Blocker(Constraint.NOTHING, f"It resumes from step {job.step}; it joins the queue at the next pass.")
    marked = facts.base_is_marked
    fault = f" A host found {job.base_id} unusable; a job that waits for it ends as failed." if marked else ""
    first = f"The operator repairs {job.base_id}. After that: " if marked else ""
    if job.desired == Desired.SUSPEND:
        rests = f"The operator suspended your tenant. It rests at step {job.step} and loses nothing.{fault}"
        ends = f"{first}The operator ends the suspension; then it continues by itself."
        return Blocker(Constraint.OPERATOR, rests, ends)
    resume = f"{first}Resume it: POST /v1/fine_tuning/jobs/{job.id}/resume, or orchard resume {job.id}."
    return Blocker(Constraint.OWNER, f"It was paused at step {job.step} and holds no seat.{fault}", resume)


def _publishing(facts: JobFacts, now: datetime) -> Blocker:
    job = facts.job
    if job.not_before is None or job.not_before <= now:
        return Blocker(Constraint.NOTHING, "It is trained; its adapter is being verified and registered.")
    reason = facts.last_warning or "It is trained, but its adapter could not be registered yet."
    return Blocker(Constraint.REGISTRY, reason, f"Registry and storage respond again. Next try {_at(job.not_before)}.")


def _succeeded(facts: JobFacts, _: datetime) -> Blocker:
    return Blocker(Constraint.NOTHING, f"It has succeeded; its model is {facts.job.fine_tuned_model}.")


def _cancelled(_: JobFacts, __: datetime) -> Blocker:
    return Blocker(Constraint.NOTHING, "It was cancelled.")


def _failed(facts: JobFacts, _: datetime) -> Blocker:
    return Blocker(Constraint.NOTHING, f"It failed: {facts.job.error_message}")


def _at(stamp: datetime | None) -> str:
    return "soon" if stamp is None else f"at {stamp:%Y-%m-%d %H:%M:%S} UTC"


def _by(job: JobRow) -> str:
    return _at(job.state_deadline)


_ANSWERS: Final[Mapping[JobState, Callable[[JobFacts, datetime], Blocker]]] = {
    JobState.VALIDATING: _validating,
    JobState.QUEUED: _queued,
    JobState.ADMITTED: _admitted,
    JobState.STARTING: _starting,
    JobState.RUNNING: _running,
    JobState.PUBLISHING: _publishing,
    JobState.STOPPING: _stopping,
    JobState.BACKOFF: _backoff,
    JobState.PAUSED: _paused,
    JobState.SUCCEEDED: _succeeded,
    JobState.CANCELLED: _cancelled,
    JobState.FAILED: _failed,
}
