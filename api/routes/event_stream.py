"""A job's events as server-sent events, from the start or after `Last-Event-ID`, until the job is over.

A stream without news, or of ten minutes, ends by a frame with `retry`; its client opens it again where it stopped.
"""

from collections.abc import AsyncIterator
from time import monotonic
from typing import Annotated, Final, cast

from fastapi import Depends, Request
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from api.event_feed import EventFeed
from api.services import Services
from orchestrator.errors import TooManyStreams
from orchestrator.queries.event_news import cursor_after
from orchestrator.slots import Slots
from orchestrator.tenancy.views import Principal

PING_EVERY_S: Final = 15.0  # proxies close idle connections
RECONNECT_MS: Final = 1_000
MAX_AGE_S: Final = 600.0
"""A stream ends after this, with `retry`: its client's key is checked again when it returns."""
_HEADERS: Final = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class EventStreams:
    """All event streams of this process."""

    def __init__(self, services: Services) -> None:
        self._db = services.db
        self._idle_s = services.event_stream_idle_s
        self._feed = EventFeed(services.db, services.event_poll_s)
        self._per_key = services.event_streams_per_key
        self._slots = Slots()

    def open(self, principal: Principal, tenant_id: str, job_id: str, after: str | None) -> EventSourceResponse:
        """Start a stream. Raises before the first byte: TooManyStreams, NotFound; InvalidRequest for `after`."""
        if not self._slots.take(principal.key_id, self._per_key):
            raise TooManyStreams(
                f"This key has {self._per_key} event streams open, as many as it may have. Close one, or read the "
                "events without `stream`."
            )
        try:
            frames = self._frames(job_id, cursor_after(self._db, tenant_id, job_id, after))
        except BaseException:
            self._slots.give_back(principal.key_id)
            raise
        return _Stream(frames, self._slots, principal.key_id)

    async def _frames(self, job_id: str, cursor: int) -> AsyncIterator[bytes]:
        """One frame per event, then `event: end` with the job's status, or `retry` where the client is to return."""
        opened_at = sent_at = news_at = monotonic()
        with self._feed.watch(job_id, cursor) as watcher:
            while watcher.status is None and not watcher.lags:
                now = monotonic()
                ends_at = min(news_at + self._idle_s, opened_at + MAX_AGE_S)
                if now >= ends_at:
                    break
                for frame in await watcher.frames(min(sent_at + PING_EVERY_S, ends_at) - now):
                    yield frame
                    sent_at = news_at = monotonic()
                if monotonic() - sent_at >= PING_EVERY_S:
                    yield format_sse_event(comment="ping")
                    sent_at = monotonic()
            for frame in await watcher.frames(0):
                yield frame
        if watcher.status is None:
            yield format_sse_event(comment="open again, with Last-Event-ID, for what comes next", retry=RECONNECT_MS)
        else:
            yield format_sse_event(data_str=f'{{"status":"{watcher.status}"}}', event="end")


class _Stream(EventSourceResponse):
    """A stream that gives its slot back when it ends, however it ends."""

    def __init__(self, frames: AsyncIterator[bytes], slots: Slots, key_id: str) -> None:
        super().__init__(frames, headers=_HEADERS)
        self._slots = slots
        self._key_id = key_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slots.give_back(self._key_id)


async def _streams(request: Request) -> EventStreams:
    return cast(EventStreams, request.app.state.event_streams)


EventStreamsDep = Annotated[EventStreams, Depends(_streams)]
