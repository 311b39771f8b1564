"""A job's events as server-sent events, from the start or after `Last-Event-ID`, until the job is over."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from time import monotonic

from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, format_sse_event

from api.services import Services
from orchestrator.queries.jobs import NewEvents, events_since

PING_EVERY_S = 15.0  # proxies close idle connections


def stream_events(services: Services, tenant_id: str, job_id: str, after: str | None) -> EventSourceResponse:
    """Start the stream. Raises before the first byte: NotFound; InvalidRequest if the job has no event `after`."""
    fetch = partial(events_since, services.db, tenant_id, job_id)
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return EventSourceResponse(_frames(fetch, fetch(after), after, services.event_poll_s), headers=headers)


async def _frames(
    fetch: "partial[NewEvents]", new: NewEvents, after: str | None, poll_s: float
) -> AsyncIterator[bytes]:
    """One frame per event, then a final frame `event: end` with the job's status."""
    sent_at = monotonic()
    while True:
        for event in new.events:
            yield format_sse_event(data_str=event.model_dump_json(), event=event.type, id=event.id)
            after, sent_at = event.id, monotonic()
        if new.final:
            break
        if monotonic() - sent_at >= PING_EVERY_S:
            yield format_sse_event(comment="ping")
            sent_at = monotonic()
        if not new.events:
            await asyncio.sleep(poll_s)
        new = await run_in_threadpool(fetch, after)
    yield format_sse_event(data_str=f'{{"status":"{new.status}"}}', event="end")
