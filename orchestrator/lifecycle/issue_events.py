"""Events of bad rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.lifecycle.events import EventDraft

MAX_ISSUE_EVENTS = 100  # of a job; the last message gives the number of others


def issue_events(issues: Sequence[Mapping[str, Any]]) -> list[EventDraft]:
    """One event for each bad row; an issue is a `RowIssue` as JSON."""
    events = [
        EventDraft(f"Line {issue.get('line')}: {issue.get('message')}", level="error", data=dict(issue))
        for issue in issues[:MAX_ISSUE_EVENTS]
    ]
    if len(issues) > MAX_ISSUE_EVENTS:
        events.append(EventDraft(f"{len(issues) - MAX_ISSUE_EVENTS} more bad lines not listed", level="error"))
    return events
