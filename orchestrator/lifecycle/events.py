"""A job's history: event drafts and the only code that writes them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from orchestrator.db.job_tables import EventRow
from orchestrator.db.states import JobState
from orchestrator.ids import new_id

Level = Literal["info", "warn", "error"]


@dataclass(frozen=True)
class EventDraft:
    """An event before it has an id and a time. `type` is `metrics` for a step's metrics."""

    message: str
    level: Level = "info"
    type: Literal["message", "metrics"] = "message"
    data: dict[str, Any] | None = None


@dataclass(frozen=True)
class Actor:
    """Whose request caused an event, and when it came."""

    key_id: str
    role: str
    tenant_id: str
    at: datetime

    @property
    def data(self) -> dict[str, Any]:
        """For an event's `data`."""
        return {"key_id": self.key_id, "tenant": self.tenant_id, "role": self.role}


def record(
    session: Session, tenant_id: str, job_id: str, draft: EventDraft, now: datetime, moved_to: JobState | None = None
) -> None:
    """Append one event in the caller's transaction. `moved_to`: the state entered; only `transition` sets it."""
    session.add(event_row(tenant_id, job_id, draft, now, moved_to))


def event_row(
    tenant_id: str, job_id: str, draft: EventDraft, now: datetime, moved_to: JobState | None = None
) -> EventRow:
    """The row of an event, not yet written."""
    return EventRow(
        id=new_id("ftevent-"),
        tenant_id=tenant_id,
        job_id=job_id,
        created_at=now,
        level=draft.level,
        type=draft.type,
        message=draft.message,
        data=draft.data,
        moved_to=moved_to,
    )
