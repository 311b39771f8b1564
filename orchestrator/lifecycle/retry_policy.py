"""Decides what happens to a job when an attempt ends. Pure: depends only on the job and on how the attempt ended."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from orchestrator.db.job_tables import JobRow
from orchestrator.db.states import RESTING, SAVING, Desired, JobState, StopReason
from orchestrator.lifecycle.events import EventDraft
from workers.contract.backoff import Backoff
from workers.contract.errors import ErrorCode
from workers.contract.issues import FoundIssues
from workers.contract.reports import ExitClass

BACKOFF: Final = Backoff(first_s=1.0, longest_s=600.0)
UNREADABLE_SPEC: Final = "This version of Orchard cannot read the job, which another version stored. Submit it again."
RUNTIME_SPENT: Final = "max_runtime_s is used up, over all attempts. Submit the job again with a larger value."
USER_RETRYABLE: Final = frozenset({ErrorCode.NON_FINITE_LOSS})
"""The job's own errors that a retry from a checkpoint may avoid, because GPU arithmetic is not deterministic."""
PARAM_OF: Final = {
    ErrorCode.INVALID_TRAINING_FILE: "training_file",
    ErrorCode.INVALID_VALIDATION_FILE: "validation_file",
    ErrorCode.INVALID_TARGET_MODULES: "x_orchard.method.target_modules",
}
"""The request field that caused an error, for `job.error.param`."""


@dataclass(frozen=True)
class AttemptEnd:
    """How an attempt ended."""

    exit_class: ExitClass
    code: ErrorCode | None = None
    message: str | None = None
    retryable: bool = True


@dataclass(frozen=True)
class RetryState:
    """The job fields that the decision needs. `jitter`, in [0, 1), spreads retries that began together."""

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
        """The retry state of a row. Its jitter derives from job and attempt, so that a replay decides the same."""
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
    """The transition to make: a state, its event, further columns, and what a failed job reports of its files."""

    to: JobState
    event: EventDraft
    changes: dict[str, Any] = field(default_factory=dict)
    issues: FoundIssues = field(default_factory=dict)


def after_attempt(job: RetryState, end: AttemptEnd, now: datetime) -> RetryDecision:
    """Decide the job's next state. The caller handles `ExitClass.OK`, because it has the adapter.

    A cancellation outranks every other reason. There are three budgets, and each end uses only one of them:

    - user: the job's own errors that a retry may avoid (`USER_RETRYABLE`). The default allows no retries, and the
    count is never reset. Every other error of the job fails it at once.
    - infra: consecutive infrastructure failures. A newer checkpoint resets the count, so a long job survives many
    failures, while a job without progress ends. Backoff doubles up to 10 min; ten retries span at least 17 min.
    - evictions: seats that their host saved and vacated because no orchestrator reached it for too long. They are
    retried without backoff. A newer checkpoint resets the count, and a seat writes one on leaving, so only a job
    without progress for a hundred evictions in a row reaches the limit.
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
    """The job vacated its seat because it was told to, or because its host retired."""
    if job.stop_reason is StopReason.STUCK:
        return infra_failure(job, AttemptEnd(ExitClass.INFRA, ErrorCode.HOST_LOST, "It made no progress."), now)
    if job.desired in RESTING or job.stop_reason in SAVING:
        planned = job.stop_reason is StopReason.SHUTDOWN
        why = "The service was stopped as planned" if planned else "Vacated its seat"
        return retry(job, f"{why} at step {job.step}", now, pause_s=0)
    count = job.host_evictions + 1
    if count > job.max_host_evictions:
        why = f"The job's host was not reachable for too long, {count} times in a row without a new checkpoint."
        return failed(ErrorCode.INTERNAL, f"{why} Submit it with a smaller checkpoint interval, or ask your operator.")
    cause = "its host was not reachable for too long"
    why = f"Attempt {job.attempt} stopped at step {job.step}: {cause}. It saved its state and waits for another seat."
    return retry(job, why, now, pause_s=0, host_evictions=count)


def user_failure(job: RetryState, end: AttemptEnd, now: datetime) -> RetryDecision:
    """The job's own error ended the attempt."""
    failures = job.user_failures + 1
    code, message = end.code or ErrorCode.INTERNAL, end.message or "The job failed."
    if code not in USER_RETRYABLE or failures > job.max_user_retries:
        return failed(code, message)
    retrying = f"Retry {failures} of {job.max_user_retries} resumes from step {job.reached_step}."
    why = f"Attempt {job.attempt} failed at step {job.step}: {message} {retrying}"
    return retry(job, why, now, BACKOFF.pause_s(failures, job.jitter), user_failures=failures)


def infra_failure(job: RetryState, end: AttemptEnd, now: datetime) -> RetryDecision:
    """The infrastructure failed under the attempt."""
    code, message = end.code or ErrorCode.INTERNAL, end.message or "The infrastructure failed."
    if not end.retryable:
        return failed(code, message)
    failures = job.infra_failures + 1
    if failures > job.max_infra_retries:
        times = (
            f"The job was interrupted {failures} times without progress beyond step {job.step}; no retries are left."
        )
        return failed(code, f"{message} {times}")
    retrying = f"Retry {failures} of {job.max_infra_retries} resumes from step {job.reached_step}."
    why = f"Attempt {job.attempt} stopped at step {job.step}: {message} {retrying}"
    return retry(job, why, now, BACKOFF.pause_s(failures, job.jitter), infra_failures=failures)


def failed(
    code: str, message: str, param: str | None = None, issues: FoundIssues = MappingProxyType({})
) -> RetryDecision:
    """Fail the job. Its owner reads `message` in `job.error`, and `issues` in its report."""
    known = PARAM_OF.get(ErrorCode(code)) if code in set(ErrorCode) else None
    event = EventDraft(f"Fine-tuning job failed: {message}", level="error", data={"code": str(code)})
    changes = {"error_code": str(code), "error_message": message, "error_param": param or known}
    return RetryDecision(JobState.FAILED, event, changes, issues)


def retry(job: RetryState, why: str, now: datetime, pause_s: float, **changes: Any) -> RetryDecision:
    """Retry the job, or leave it paused if its owner paused it or the operator suspended its tenant."""
    data = {"attempt": job.attempt, "step": job.step}
    if job.desired in RESTING:
        unsaved = job.reached_step < job.step  # its host died, or could not reach storage
        saved = f"; its newest checkpoint is at step {job.reached_step}" if unsaved else ""
        what = "Paused" if job.desired is Desired.PAUSE else "Suspended"
        return RetryDecision(JobState.PAUSED, EventDraft(f"{what} at step {job.step}{saved}", data=data), changes)
    event = EventDraft(why, level="warn", data=data)
    return RetryDecision(JobState.BACKOFF, event, {"not_before": now + timedelta(seconds=pause_s), **changes})
