"""The webhook events and their body."""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from orchestrator.db.states import JobState


class EventType(StrEnum):
    """OpenAI's names of the events that exist here."""

    SUCCEEDED = "fine_tuning.job.succeeded"
    FAILED = "fine_tuning.job.failed"
    CANCELLED = "fine_tuning.job.cancelled"


EVENT_OF: Final[Mapping[JobState, EventType]] = {
    JobState.SUCCEEDED: EventType.SUCCEEDED,
    JobState.FAILED: EventType.FAILED,
    JobState.CANCELLED: EventType.CANCELLED,
}
"""Every terminal state has its event."""


def event_body(event_id: str, event_type: str, job_id: str, created_at: datetime) -> bytes:
    """OpenAI's event, identical at every try."""
    event = {
        "id": event_id,
        "object": "event",
        "created_at": int(created_at.timestamp()),
        "type": event_type,
        "data": {"id": job_id},
    }
    return json.dumps(event, separators=(",", ":")).encode()
