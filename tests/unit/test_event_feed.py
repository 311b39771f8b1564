"""A watcher of the event feed, without a server."""

import asyncio
import threading

from api import event_feed
from api.event_feed import EventFeed, Watcher
from orchestrator.db.database import Database
from orchestrator.db.states import JobState
from orchestrator.lifecycle.events import EventDraft, record
from tests.builders.rows import NOW, make_job


def test_a_client_that_reads_too_slowly_is_ended_behind_what_it_was_given(monkeypatch) -> None:
    monkeypatch.setattr(event_feed, "MAX_PENDING", 3)

    async def read() -> tuple[list[bytes], Watcher]:
        watcher = Watcher(0)
        watcher.tell([(1, b"1"), (2, b"2")], None)
        watcher.tell([(3, b"3"), (4, b"4")], None)
        watcher.tell([(5, b"5")], "succeeded")
        return await watcher.frames(60), watcher

    frames, watcher = asyncio.run(read())
    assert frames == [b"1", b"2"], "without a gap, so that it can continue after the last"
    assert (watcher.lags, watcher.status) == (True, None)


def test_a_watcher_is_told_nothing_twice() -> None:
    async def read() -> list[bytes]:
        watcher = Watcher(2)
        watcher.tell([(1, b"1"), (2, b"2"), (3, b"3")], None)
        watcher.tell([(3, b"3"), (4, b"4")], "succeeded")
        return await watcher.frames(60)

    assert asyncio.run(read()) == [b"3", b"4"]


def test_a_watcher_that_comes_while_the_feed_reads_for_others_misses_nothing(sqlite_db: Database, monkeypatch) -> None:
    job = make_job(sqlite_db, JobState.QUEUED)
    with sqlite_db.write() as session:
        for number in range(3):
            record(session, job.tenant_id, job.id, EventDraft(f"event {number}"), NOW)
    reading, go_on, read = threading.Event(), threading.Event(), event_feed._frames_of

    def held(db: Database, cursors: dict[str, int]) -> dict:
        reading.set()
        go_on.wait(30)
        return read(db, cursors)

    monkeypatch.setattr(event_feed, "_frames_of", held)

    async def watch() -> tuple[list[bytes], list[bytes]]:
        feed = EventFeed(sqlite_db, poll_s=0.01)
        with feed.watch(job.id, cursor=2) as early:
            await asyncio.to_thread(reading.wait, 30)
            with feed.watch(job.id, cursor=0) as late:
                go_on.set()
                return await early.frames(30), await late.frames(30)

    early, late = asyncio.run(watch())
    assert (len(early), len(late)) == (2, 4), "the event of its creation and three more"
