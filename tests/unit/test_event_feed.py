"""A watcher of the event feed, without a server."""

import asyncio

from api import event_feed
from api.event_feed import Watcher


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
