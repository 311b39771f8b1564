"""What becomes of a job when an attempt ends: a pure decision from the job, the end, and who is to blame for it."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import Desired, JobState, StopReason
from orchestrator.lifecycle.events import EventDraft
from workers.contract.backoff import Backoff
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass

BACKOFF: Final = Backoff(first_s=1.0, longest_s=600.0)
UNREADABLE_SPEC: Final = "It was submitted to another version of Orchard, which this one cannot read. Submit it again."
RUNTIME_SPENT: Final = "max_runtime_s is spent, counted over all attempts. Submit the job again with a larger one."
USER_RETRYABLE: Final = frozenset({ErrorCode.NON_FINITE_LOSS})
"""Errors of a job's own that another try from its checkpoint may avoid: arithmetic on a GPU is not always the same."""
PARAM_OF: Final = {
    ErrorCode.INVALID_TRAINING_FILE: "training_file",
    ErrorCode.INVALID_VALIDATION_FILE: "validation_file",
    ErrorCode.INVALID_TARGET_MODULES: "x_orchard.method.target_modules",
}
"""The request field to blame for an error, for `job.error.param`."""


@dataclass(frozen=True)
class AttemptEnd:
    """How an attempt ended, whoever noticed it."""

    exit_class: ExitClass
    code: ErrorCode | None = None
    message: str | None = None
    retryable: bool = True


@dataclass(frozen=True)
class RetryState:
    """The parts of a job that the decision rests on. `jitter`, in [0, 1), spreads retries that began together."""

    state: JobState
    desired: Desired
    stop_reason: StopReason | None = None
    attempt: int = 1
    step: int = 0
    reached_step: int = 0
    user_failures: int = 0
    infra_failures: int = 0
    host_evictions: int = 0
    max_user_retries: int = 0
    max_infra_retries: int = 10
    max_host_evictions: int = 100
    jitter: float = 0.0

    @classmethod
    def of(cls, row: JobRow) -> "RetryState":
        """The standing of a row. Its jitter follows from job and attempt, so that a replay decides alike."""
        digest = hashlib.sha256(f"{row.id}/{row.attempt}".encode()).digest()
        return cls(
            state=JobState(row.state),
            desired=Desired(row.desired),
            stop_reason=None if row.stop_reason is None else StopReason(row.stop_reason),
            attempt=row.attempt,
            step=row.step,
            reached_step=row.reached_step,
            user_failures=row.user_failures,
            infra_failures=row.infra_failures,
            host_evictions=row.host_evictions,
            max_user_retries=row.max_user_retries,
            max_infra_retries=row.max_infra_retries,
            max_host_evictions=row.max_host_evictions,
            jitter=int.from_bytes(digest[:4]) / 2**32,
        )


@dataclass(frozen=True)
class RetryDecision:
    """The move to make: a state, its event, and further columns."""

    to: JobState
    event: EventDraft
    changes: dict[str, Any] = field(default_factory=dict)


def after_attempt(job: RetryState, end: AttemptEnd, now: datetime) -> RetryDecision:
    """Decide where the job goes. `ExitClass.OK` is handled by the caller, which has the adapter in hand.

    A wish to cancel outranks every other reason. There are three budgets, and an end draws on one of them alone:

    - user: errors of the job's own that may come out otherwise (`USER_RETRYABLE`); none are repeated by default, and
      what was used up stays used up. Every other error of the job fails it at once.
    - infra: attempts lost in a row. A newer checkpoint starts the count again, so a long job outlives many bad
      nights, while one that gets nowhere ends; with pauses that double up to 10 min, ten retries span 17 min and more.
    - preempted: seats that their host saved and ended by itself, since nobody had reached it for too long; repeated
      without a pause. Also counted anew with each newer checkpoint, which a seat writes on leaving: the limit meets
      only a job that gets nowhere a hundred times in a row.
    """
    if job.desired is Desired.CANCEL:
        return RetryDecision(JobState.CANCELLED, EventDraft("Fine-tuning job cancelled"))
    if job.stop_reason is StopReason.RUNTIME:
        return failed(ErrorCode.MAX_RUNTIME_EXCEEDED, RUNTIME_SPENT)
    if end.exit_class in (ExitClass.PREEMPTED, ExitClass.CANCELLED):
        return released(job, now)
    if end.exit_class is ExitClass.USER:
        return user_failure(job, end, now)
    return infra_failure(job, end, now)


def released(job: RetryState, now: datetime) -> RetryDecision:
    """It left its seat because it was told to, or because its host went to rest by itself."""
    if job.stop_reason is StopReason.STUCK:
        return infra_failure(job, AttemptEnd(ExitClass.INFRA, ErrorCode.HOST_LOST, "It did not get ahead."), now)
    if job.desired is Desired.PAUSE or job.stop_reason is StopReason.PAUSE:
        return retry(job, f"Gave its seat up at step {job.step}", now, pause_s=0)
    count = job.host_evictions + 1
    if count > job.max_host_evictions:
        why = f"The job's host was not reached for too long, {count} times in a row without a new checkpoint."
        return failed(ErrorCode.INTERNAL, f"{why} Give it a smaller checkpoint interval, or tell your operator.")
    why = f"Its host was not reached for too long and saved it at step {job.step}; waiting for another seat"
    return retry(job, why, now, pause_s=0, host_evictions=count)


def user_failure(job: RetryState, end: AttemptEnd, now: datetime) -> RetryDecision:
    """The job's own error ended the attempt."""
    failures = job.user_failures + 1
    code, message = end.code or ErrorCode.INTERNAL, end.message or "The job failed."
    if code not in USER_RETRYABLE or failures > job.max_user_retries:
        return failed(code, message)
    why = f"Attempt {job.attempt} failed: {message} Retry {failures} of {job.max_user_retries} follows."
    return retry(job, why, now, BACKOFF.pause_s(failures, job.jitter), user_failures=failures)


def infra_failure(job: RetryState, end: AttemptEnd, now: datetime) -> RetryDecision:
    """The machinery lost the attempt."""
    code, message = end.code or ErrorCode.INTERNAL, end.message or "The machinery failed."
    if not end.retryable:
        return failed(code, message)
    failures = job.infra_failures + 1
    if failures > job.max_infra_retries:
        times = f"The job was lost {failures} times without getting further than step {job.step}; no retry is left."
        return failed(code, f"{message} {times}")
    why = f"Attempt {job.attempt} was lost: {message} Retry {failures} of {job.max_infra_retries} follows."
    return retry(job, why, now, BACKOFF.pause_s(failures, job.jitter), infra_failures=failures)


def failed(code: str, message: str, param: str | None = None) -> RetryDecision:
    """The job ends as FAILED with what its owner reads in `job.error`."""
    known = PARAM_OF.get(ErrorCode(code)) if code in set(ErrorCode) else None
    event = EventDraft(f"Fine-tuning job failed: {message}", level="error", data={"code": str(code)})
    changes = {"error_code": str(code), "error_message": message, "error_param": param or known}
    return RetryDecision(JobState.FAILED, event, changes)


def retry(job: RetryState, why: str, now: datetime, pause_s: float, **changes: Any) -> RetryDecision:
    """The job will be tried again: once it is asked to, if its owner paused it."""
    data = {"attempt": job.attempt, "step": job.step}
    if job.desired is Desired.PAUSE:
        unsaved = job.reached_step < job.step  # its host died, or could not reach storage
        saved = f"; its newest checkpoint is of step {job.reached_step}" if unsaved else ""
        return RetryDecision(JobState.PAUSED, EventDraft(f"Paused at step {job.step}{saved}", data=data), changes)
    event = EventDraft(why, level="warn", data=data)
    return RetryDecision(JobState.BACKOFF, event, {"not_before": now + timedelta(seconds=pause_s), **changes})
