"""What becomes of a job when an attempt ends: a pure decision from the job, the end, and who is to blame for it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from orchestrator.jobs.events import EventDraft
from orchestrator.jobs.states import Desired, JobState
from workers.contract.errors import ErrorCode
from workers.contract.reports import ExitClass

BACKOFF_BASE_S: Final = 1.0
BACKOFF_MAX_S: Final = 300.0
UNREADABLE_SPEC: Final = "It was submitted to another version of Orchard, which this one cannot read. Submit it again."
PARAM_OF: Final = {
    ErrorCode.INVALID_TRAINING_FILE: "training_file",
    ErrorCode.INVALID_VALIDATION_FILE: "validation_file",
    ErrorCode.INVALID_TARGET_MODULES: "x_orchard.target_modules",
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
class Standing:
    """The parts of a job that the decision rests on."""

    state: JobState
    desired: Desired
    attempt: int
    step: int
    infra_failures: int
    max_retries: int


@dataclass(frozen=True)
class Verdict:
    """The move to make: a state, its event, and further columns."""

    to: JobState
    event: EventDraft
    changes: dict[str, Any] = field(default_factory=dict)


def after_attempt(job: Standing, end: AttemptEnd, now: datetime) -> Verdict:
    """Decide where the job goes. `ExitClass.OK` is handled by the caller, which has the adapter in hand.

    A cancel wish outranks every other reason. User errors fail at once. Lost attempts are repeated from the newest
    checkpoint, at most `max_retries` times, with doubling pauses; preemptions are repeated without limit.
    """
    if job.desired is Desired.CANCEL:
        return Verdict(JobState.CANCELLED, EventDraft("Fine-tuning job cancelled"))
    if end.exit_class is ExitClass.USER or not end.retryable:
        return failed(end.code or ErrorCode.INTERNAL, end.message or "The job failed.")
    if end.exit_class in (ExitClass.PREEMPTED, ExitClass.CANCELLED):
        if job.desired is Desired.PAUSE:
            return Verdict(JobState.PAUSED, EventDraft(f"Paused at step {job.step}"))
        return _again(job, f"Gave its seat up at step {job.step}; waiting for another", now, pause_s=0)
    failures = job.infra_failures + 1
    if failures > job.max_retries:
        return failed(
            end.code or ErrorCode.INTERNAL, f"{end.message} The job was lost {failures} times; no retry is left."
        )
    pause_s = min(BACKOFF_BASE_S * 2 ** (failures - 1), BACKOFF_MAX_S)
    why = f"Attempt {job.attempt} was lost: {end.message} Retry {failures} of {job.max_retries} follows."
    return _again(job, why, now, pause_s, infra_failures=failures)


def failed(code: str, message: str, param: str | None = None) -> Verdict:
    """The job ends as FAILED with what its owner reads in `job.error`."""
    known = PARAM_OF.get(ErrorCode(code)) if code in set(ErrorCode) else None
    event = EventDraft(f"Fine-tuning job failed: {message}", level="error", data={"code": str(code)})
    changes = {"error_code": str(code), "error_message": message, "error_param": param or known}
    return Verdict(JobState.FAILED, event, changes)


def _again(job: Standing, why: str, now: datetime, pause_s: float, **changes: Any) -> Verdict:
    data = {"attempt": job.attempt, "step": job.step}
    event = EventDraft(why, level="warn", data=data)
    return Verdict(JobState.BACKOFF, event, {"not_before": now + timedelta(seconds=pause_s), **changes})
