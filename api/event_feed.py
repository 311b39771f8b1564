"""`EventFeed`: one reader of the database for all event streams of this process."""

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Final

import structlog
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import format_sse_event

from orchestrator.db.database import Database
from orchestrator.outages import outage
from orchestrator.queries.event_news import JobNews, news_of
from orchestrator.queries.job_views import EventView

MAX_PENDING: Final = 10_000  # frames that a slow client may leave waiting
WOKEN_TOGETHER: Final = 20  # streams with news; then other requests have a turn of the event loop
_SHORTEST_PAUSE_S: Final = 0.01
_log = structlog.get_logger("orchard.api")


class FeedBroken(Exception):
    """The feed met a bug, which the log has; its streams break off."""


class Watcher:
    """What one stream has yet to send. For the event loop's thread alone."""

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self.status: str | None = None
        """The job's status once no more frames will come."""
        self.lags = False
        """Too many frames wait: the stream ends behind them, and its client continues from there."""
        self._frames: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._broken = False

    async def frames(self, wait_s: float) -> list[bytes]:
        """The frames that came since the last call; [] after `wait_s` seconds without any, or at the end.

        Raises: FeedBroken.
        """
        if not self._frames and not self._is_over:
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                return []
        if self._broken:
            raise FeedBroken
        taken = list(self._frames)
        self._frames.clear()
        if not self._is_over:
            self._news.clear()
        return taken

    def tell(self, frames: list[tuple[int, bytes]], final_status: str | None) -> None:
        """Add the frames behind the cursor, and the end."""
        if self.lags:
            return
        new = [frame for seq, frame in frames if seq > self.cursor]
        self.lags = len(self._frames) + len(new) > MAX_PENDING
        if not self.lags:
            self._frames.extend(new)
            self.cursor = max(self.cursor, frames[-1][0]) if frames else self.cursor
            self.status = final_status
        if new or self._is_over:
            self._news.set()

    def fail(self) -> None:
        """End with FeedBroken."""
        self._broken = True
        self._news.set()

    @property
    def _is_over(self) -> bool:
        return self.status is not None or self.lags or self._broken


class EventFeed:
    """Reads the news of all watched jobs together, every `poll_s` seconds, and hands them to the watchers.

    It rests for at least as long as it read, so it takes no more than half of one thread. While the database is away
    it goes on trying. It runs only while somebody watches.
    """

    def __init__(self, db: Database, poll_s: float) -> None:
        self._db = db
        self._poll_s = poll_s
        self._watchers: dict[str, set[Watcher]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()

    @contextmanager
    def watch(self, job_id: str, cursor: int) -> Iterator[Watcher]:
        """A watcher of the job's events behind `cursor`, those that are there already included."""
        watcher = Watcher(cursor)
        self._watchers.setdefault(job_id, set()).add(watcher)
        if self._reader is None or self._reader.done():
            self._wanted = asyncio.Event()
            self._reader = asyncio.create_task(self._read())
        self._wanted.set()
        try:
            yield watcher
        finally:
            self._watchers[job_id].discard(watcher)
            if not self._watchers[job_id]:
                del self._watchers[job_id]
            self._wanted.set()  # the reader ends when nobody is left

    async def _read(self) -> None:
        is_away = False
        while self._watchers:
            self._wanted.clear()
            started = monotonic()
            cursors = self._cursors()
            try:
                news = await run_in_threadpool(_frames_of, self._db, cursors)
            except Exception as error:  # noqa: BLE001  # a bug ends the streams of now, and no later one
                if outage(error) is None:
                    _log.exception("event feed failed")
                    self._fail()
                    return
                if not is_away:
                    _log.warning("event feed waits", cause=repr(error))
                is_away = True
                await asyncio.sleep(self._poll_s)
                continue
            is_away = False
            has_more = await self._tell(cursors, news)
            await asyncio.sleep(max(_SHORTEST_PAUSE_S, monotonic() - started))
            if not has_more:
                await self._pause()

    def _cursors(self) -> dict[str, int]:
        """Of each job, behind which event its watchers wait. A stream that lags gets no more: nobody waits for it."""
        return {
            job_id: min(wanted)
            for job_id, ones in self._watchers.items()
            if (wanted := [one.cursor for one in ones if not one.lags])
        }

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):
                await self._wanted.wait()
        except TimeoutError:
            pass

    async def _tell(
        self, cursors: Mapping[str, int], news: Mapping[str, tuple[JobNews, list[tuple[int, bytes]]]]
    ) -> bool:
        """Hand out what was read behind `cursors`. Returns whether more are there already.

        A watcher that came during the read and has an earlier cursor waits for the next one: this has a gap for it.
        """
        told = 0
        for job_id, (found, frames) in news.items():
            for watcher in tuple(self._watchers.get(job_id, ())):
                if watcher.cursor < cursors[job_id]:
                    continue
                watcher.tell(frames, found.status if found.final else None)
                told += bool(frames)
                if told == WOKEN_TOGETHER:
                    told = 0
                    await asyncio.sleep(0)
        return any(found.has_more for found, _ in news.values())

    def _fail(self) -> None:
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.fail()


def _frames_of(db: Database, cursors: Mapping[str, int]) -> dict[str, tuple[JobNews, list[tuple[int, bytes]]]]:
    """The news, and each event as the bytes that all its watchers are sent."""
    return {job_id: (found, [_frame(*item) for item in found.events]) for job_id, found in news_of(db, cursors).items()}


def _frame(seq: int, event: EventView) -> tuple[int, bytes]:
    return seq, format_sse_event(data_str=event.model_dump_json(), event=event.type, id=event.id)
