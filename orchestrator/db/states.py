"""The states of a job, the moves between them, and how OpenAI's clients see them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class JobState(StrEnum):
    """The state of a job. Only the loops change it."""

    VALIDATING = "validating"
    """Accepted; the loop validates its files together, and an encoder turns their rows into tokens."""
    QUEUED = "queued"
    """Waits for a seat; `queue_reason` says why."""
    ADMITTED = "admitted"
    """A seat is reserved on a host, which may still be loading its base."""
    STARTING = "starting"
    """Attached; the host fetches its rows."""
    RUNNING = "running"
    """The host reported the seat prepared; steps follow."""
    PUBLISHING = "publishing"
    """Trained; the adapter is in storage and goes to the registry."""
    STOPPING = "stopping"
    """The host was told to vacate the seat; waits for the outcome."""
    BACKOFF = "backoff"
    """The last attempt was interrupted; the job is queued again at `not_before`."""
    PAUSED = "paused"
    """Vacated its seat on request; resumes from its newest checkpoint."""
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Desired(StrEnum):
    """The state that the tenant desires, or its operator. Only the API changes it."""

    RUN = "run"
    CANCEL = "cancel"
    PAUSE = "pause"
    SUSPEND = "suspend"
    """It was RUN when the operator suspended the tenant, and will be again."""


class StopReason(StrEnum):
    """Why a seat is being vacated."""

    CANCEL = "cancel"
    PAUSE = "pause"
    SUSPEND = "suspend"
    """The operator suspended the tenant."""
    SHUTDOWN = "shutdown"
    """The whole service is being stopped, as planned."""
    RUNTIME = "runtime"
    """`max_runtime_s` is used up and the host did not end the seat itself."""
    STUCK = "stuck"
    """It makes no progress."""


S = JobState
TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    S.VALIDATING: frozenset({S.QUEUED, S.PAUSED, S.CANCELLED, S.FAILED}),
    S.QUEUED: frozenset({S.ADMITTED, S.VALIDATING, S.PAUSED, S.CANCELLED, S.FAILED}),
    S.ADMITTED: frozenset({S.STARTING, S.STOPPING, S.PAUSED, S.BACKOFF, S.CANCELLED, S.FAILED}),
    S.STARTING: frozenset({S.RUNNING, S.STOPPING, S.PAUSED, S.BACKOFF, S.CANCELLED, S.FAILED}),
    S.RUNNING: frozenset({S.PUBLISHING, S.STOPPING, S.PAUSED, S.BACKOFF, S.CANCELLED, S.FAILED}),
    S.STOPPING: frozenset({S.PUBLISHING, S.PAUSED, S.BACKOFF, S.CANCELLED, S.FAILED}),
    S.PUBLISHING: frozenset({S.SUCCEEDED, S.CANCELLED, S.FAILED}),
    S.BACKOFF: frozenset({S.QUEUED, S.VALIDATING, S.PAUSED, S.CANCELLED, S.FAILED}),
    S.PAUSED: frozenset({S.QUEUED, S.VALIDATING, S.CANCELLED, S.FAILED}),
    S.SUCCEEDED: frozenset(),
    S.CANCELLED: frozenset(),
    S.FAILED: frozenset(),
}

TERMINAL: Final = frozenset({S.SUCCEEDED, S.CANCELLED, S.FAILED})
SAVING: Final = frozenset({StopReason.PAUSE, StopReason.SUSPEND, StopReason.SHUTDOWN})
"""Reasons to vacate a seat after which the job goes on from a checkpoint that is saved now."""
RESTING: Final = frozenset({Desired.PAUSE, Desired.SUSPEND})
"""What is desired of jobs that save their state, vacate their seats, and continue later."""
SEATED: Final = frozenset({S.ADMITTED, S.STARTING, S.RUNNING, S.STOPPING})
"""States in which the job's attempt holds a seat, and therefore a lease."""

_STATUS: Final[Mapping[JobState, str]] = {
    S.VALIDATING: "validating_files",
    S.QUEUED: "queued",
    S.ADMITTED: "queued",
    S.STARTING: "running",
    S.RUNNING: "running",
    S.PUBLISHING: "running",
    S.STOPPING: "running",
    S.BACKOFF: "queued",
    S.PAUSED: "paused",
    S.SUCCEEDED: "succeeded",
    S.CANCELLED: "cancelled",
    S.FAILED: "failed",
}

DEADLINE_S: Final[Mapping[JobState, int]] = {
    S.VALIDATING: 600,
    S.QUEUED: 86_400,
    S.ADMITTED: 1_800,
    S.STARTING: 3_600,
    S.RUNNING: 86_400,
    S.STOPPING: 900,
    S.PUBLISHING: 604_800,
    S.BACKOFF: 3_600,
    S.PAUSED: 604_800,
}
"""Seconds a job may stay in a live state before `orchestrator.lifecycle.deadlines` acts.

RUNNING's deadline is the rest of `max_runtime_s`, set on entry. STOPPING's is longer than any step, which a host
does not interrupt, plus the checkpoint that a paused seat waits for.
"""


def openai_status(state: JobState, desired: Desired) -> str:
    """OpenAI's `status`, a projection of ours: `pausing` from the request until the seat is free, then `paused`."""
    return "pausing" if state in SEATED and desired in RESTING else _STATUS[state]
