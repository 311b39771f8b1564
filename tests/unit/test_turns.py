"""Readers take turns: a slice each, in order, and nobody waits for who is gone."""

import threading
from collections.abc import Callable

import pytest

from tests.builders.waiting import wait_until
from workers.data.pausing import Abandoned
from workers.engine.turns import SLICE_S, Reader, Turns


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def waits(turns: Turns, count: int = 1) -> None:
    wait_until(lambda: len(turns._waiting) == count, "a reader that waits", 30.0, pause_s=0.001)


def test_a_reader_gives_its_turn_on_in_the_middle_of_its_work_and_gets_it_back() -> None:
    turns, clock, said = Turns(), Clock(), list[str]()
    slow, quick = Reader(turns, lambda: False, clock=clock), Reader(turns, lambda: False, clock=clock)
    slow.pause()

    def one_row() -> None:
        quick.pause()
        said.append("quick")
        quick.rest()

    thread = started(one_row)
    waits(turns)
    slow.pause()
    assert said == [], "its slice is not over"
    clock.now += SLICE_S
    slow.pause()
    assert said == ["quick"]
    thread.join()


def test_who_has_nobody_behind_it_goes_on() -> None:
    turns, clock = Turns(), Clock()
    reader = Reader(turns, lambda: False, clock=clock)
    for _ in range(3):
        clock.now += 1.0
        reader.pause()
    reader.rest()
    assert not turns._taken


def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    turns, order = Turns(), list[int]()
    turns.take()
    threads = []
    for number in range(5):

        def work(number: int = number) -> None:
            turns.take()
            order.append(number)
            turns.give()

        threads.append(started(work))
        waits(turns, number + 1)
    turns.give()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_a_reader_that_nobody_needs_stops_at_its_next_pause_also_when_it_waited_for_it() -> None:
    turns, gone, ended = Turns(), threading.Event(), list[str]()
    turns.take()

    def read() -> None:
        reader = Reader(turns, gone.is_set)
        try:
            reader.pause()
        except Abandoned:
            reader.rest()
            ended.append("abandoned")

    thread = started(read)
    waits(turns)
    gone.set()
    turns.give()
    thread.join()
    assert ended == ["abandoned"]
    assert not turns._taken
    with pytest.raises(Abandoned):
        Reader(turns, gone.is_set).pause()
    assert not turns._taken
