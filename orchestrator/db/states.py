"""The states of a job, the moves between them, and what OpenAI's clients see of them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class JobState(StrEnum):
    """Where a job is. Only the loops move it."""

    VALIDATING = "validating"
    """Accepted; the loop checks its files against each other."""
    QUEUED = "queued"
    """Waits for a seat; `queue_reason` says for what."""
    ADMITTED = "admitted"
    """A seat is reserved on a host, which may still be loading its base."""
    STARTING = "starting"
    """Attached; the host tokenizes its rows."""
    RUNNING = "running"
    """The host reported the seat prepared; steps follow."""
    PUBLISHING = "publishing"
    """Trained; the adapter is in storage and goes to the registry."""
    STOPPING = "stopping"
    """The host was told to give the seat up; waits for its outcome."""
    BACKOFF = "backoff"
    """The last attempt was lost; goes back to the queue at `not_before`."""
    PAUSED = "paused"
    """Gave its seat up on request; resumes from its newest checkpoint."""
    SUCCEEDED = "succeeded"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Desired(StrEnum):
    """What the tenant wants of the job. Only the API moves it."""

    RUN = "run"
    CANCEL = "cancel"
    PAUSE = "pause"


class StopReason(StrEnum):
    """Why a seat is being given up."""

    CANCEL = "cancel"
    PAUSE = "pause"
    RUNTIME = "runtime"
    """`max_runtime_s` is spent and the host did not end the seat by itself."""
    STUCK = "stuck"
    """It does not get ahead."""


S = JobState
TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    S.VALIDATING: frozenset({S.QUEUED, S.CANCELLED, S.FAILED}),
    S.QUEUED: frozenset({S.ADMITTED, S.PAUSED, S.CANCELLED, S.FAILED}),
    S.ADMITTED: frozenset({S.STARTING, S.STOPPING, S.PAUSED, S.BACKOFF, S.CANCELLED, S.FAILED}),
    S.STARTING: frozenset({S.RUNNING, S.STOPPING, S.PAUSED, S.BACKOFF, S.CANCELLED, S.FAILED}),
    S.RUNNING: frozenset({S.PUBLISHING, S.STOPPING, S.PAUSED, S.BACKOFF, S.CANCELLED, S.FAILED}),
    S.STOPPING: frozenset({S.PUBLISHING, S.PAUSED, S.BACKOFF, S.CANCELLED, S.FAILED}),
    S.PUBLISHING: frozenset({S.SUCCEEDED, S.CANCELLED, S.FAILED}),
    S.BACKOFF: frozenset({S.QUEUED, S.PAUSED, S.CANCELLED, S.FAILED}),
    S.PAUSED: frozenset({S.QUEUED, S.CANCELLED, S.FAILED}),
    S.SUCCEEDED: frozenset(),
    S.CANCELLED: frozenset(),
    S.FAILED: frozenset(),
}

TERMINAL: Final = frozenset({S.SUCCEEDED, S.CANCELLED, S.FAILED})
SEATED: Final = frozenset({S.ADMITTED, S.STARTING, S.RUNNING, S.STOPPING})
"""States in which the job's attempt holds a seat, and hence a lease."""

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
"""Seconds a job may stay in a live state before the sweep acts (`orchestrator.lifecycle.deadlines` says how).

RUNNING has its own, what is left of `max_runtime_s`, set on entering it. STOPPING is longer than any step,
which a host does not interrupt, and the checkpoint that a paused seat waits for.
"""


def openai_status(state: JobState, desired: Desired) -> str:
    """OpenAI's `status`, a projection of ours: `pausing` from the wish until the seat is free, then `paused`."""
    return "pausing" if state in SEATED and desired is Desired.PAUSE else _STATUS[state]
