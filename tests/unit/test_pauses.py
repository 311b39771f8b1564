"""How long a loop rests: briefly while a job is on its way to its first step, long while something is away."""

import pytest

from orchestrator.loops.runner import FAST_POLL_S, MAX_PAUSE_S, PROGRESS_EVENTS, next_pause_s
from orchestrator.steps.step import Counts


@pytest.mark.parametrize("moved", sorted(PROGRESS_EVENTS))
def test_a_pass_that_moved_a_job_onward_is_followed_soon(moved: str) -> None:
    assert next_pause_s(Counts({moved: 1, "polled": 3}), last_s=0.5, interval_s=0.5) == FAST_POLL_S


def test_then_the_pauses_double_until_they_are_the_usual_ones() -> None:
    pauses = [FAST_POLL_S]
    for _ in range(5):
        pauses.append(next_pause_s(Counts(polled=1), pauses[-1], interval_s=0.5))
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]


def test_in_an_outage_they_grow_beyond_the_usual_and_fall_back_at_once() -> None:
    pauses = [0.5]
    for _ in range(5):
        pauses.append(next_pause_s(Counts(outages=1, attached=1), pauses[-1], interval_s=0.5))
    assert pauses == [0.5, 1.0, 2.0, 4.0, MAX_PAUSE_S, MAX_PAUSE_S]
    assert next_pause_s(Counts(), MAX_PAUSE_S, interval_s=0.5) == 0.5


def test_a_slow_loop_stays_slow_in_an_outage_and_a_quick_one_gets_no_slower_by_haste() -> None:
    assert next_pause_s(Counts(outages=1), last_s=60, interval_s=60) == 60
    assert next_pause_s(Counts(Admit=1), last_s=0.01, interval_s=0.01) == 0.01
