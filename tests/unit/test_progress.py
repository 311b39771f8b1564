"""When a host that answers is nevertheless stuck: a pure decision over the paces of its seats."""

from datetime import datetime, timedelta

import pytest

from orchestrator.hosts.stall_detector import (
    UNSEEN_S,
    Progress,
    StallDetector,
    StallLimits,
    advanced,
    limit_s,
    stands_still,
)
from tests.builders.rows import NOW
from workers.contract.reports import Heartbeat, HostPhase, HostReport, NumberedReport

ALLOWANCE = StallLimits(training_s=600, other_s=3_600)


def pulse(step: int = 0, phase: str = "training", job_id: str = "ftjob-1") -> Heartbeat:
    return Heartbeat(job_id=job_id, attempt=1, lease_token="lease", step=step, phase=phase)


def answer(*pulses: Heartbeat, seats: tuple[str, ...] | None = None) -> HostReport:
    reports = tuple(NumberedReport(seq=seq, report=each) for seq, each in enumerate(pulses, start=1))
    held = tuple(each.job_id for each in pulses) if seats is None else seats
    return HostReport(host_id="h", phase=HostPhase.READY, pid=1, seats=held, reports=reports)


def standing(seconds: float, phase: str = "training", *steps_s: float) -> Progress:
    return Progress(phase, 5, NOW, still_s=seconds, steps_s=steps_s)


def watched(watch: StallDetector, seconds: int, *pulses: Heartbeat, began: datetime = NOW) -> str | None:
    """What the watch says after polls of the same answer, one each ten seconds."""
    verdict = None
    for second in range(0, seconds + 1, 10):
        verdict = watch.stuck(answer(*pulses), began + timedelta(seconds=second))
    return verdict


def test_a_pace_counts_the_time_a_seat_was_seen_at_one_step():
    pace = advanced(None, pulse(step=3), NOW)
    pace = advanced(pace, pulse(step=3), NOW + timedelta(seconds=4))
    assert (pace.step, pace.still_s) == (3, 4)
    pace = advanced(pace, pulse(step=5), NOW + timedelta(seconds=10))
    assert (pace.step, pace.still_s, pace.steps_s) == (5, 0, (5.0,))


def test_a_pause_in_which_nobody_looked_is_not_standing_still():
    pace = advanced(advanced(None, pulse(), NOW), pulse(), NOW + timedelta(hours=5))
    assert pace.still_s == UNSEEN_S


def test_preparing_is_no_step():
    pace = advanced(advanced(None, pulse(phase="preparing"), NOW), pulse(step=1), NOW + timedelta(seconds=20))
    assert pace.steps_s == ()


@pytest.mark.parametrize(
    ("pace", "limit"),
    [
        (standing(0), 600),
        (standing(0, "training", 1.0, 2.0, 3.0), 600),
        (standing(0, "training", 100.0, 200.0, 10_000.0), 2_000),
        (standing(0, "preparing", 200.0), 3_600),
        (standing(0, "saving"), 3_600),
    ],
)
def test_a_seat_may_stand_still_for_ten_usual_steps_or_ten_minutes(pace: Progress, limit: float):
    assert limit_s(pace, ALLOWANCE) == limit


@pytest.mark.parametrize(
    ("paces", "still"),
    [
        ([], False),
        ([standing(599)], False),
        ([standing(601)], True),
        ([standing(601), standing(601)], True),
        ([standing(601), standing(10)], False),
        ([standing(601), standing(601, "preparing")], False),
        ([standing(601), standing(3_601, "waiting")], True),
        ([standing(601, "training", 100.0)], False),
    ],
)
def test_a_host_stands_still_when_all_its_seats_do(paces: list[Progress], still: bool):
    assert stands_still(paces, ALLOWANCE) is still


def test_the_watch_speaks_up_once_nothing_has_moved_for_too_long():
    watch = StallDetector(ALLOWANCE)
    assert watched(watch, 600, pulse(step=4), pulse(step=9, job_id="ftjob-2")) is None
    verdict = watched(watch, 10, pulse(step=4), pulse(step=9, job_id="ftjob-2"), began=NOW + timedelta(seconds=610))
    assert verdict is not None
    assert "none of its 2 seat(s) made progress" in verdict


def test_one_seat_that_moves_excuses_the_others():
    watch = StallDetector(ALLOWANCE)
    for second in range(0, 3_000, 10):
        both = answer(pulse(step=4), pulse(step=second, job_id="ftjob-2"))
        assert watch.stuck(both, NOW + timedelta(seconds=second)) is None


def test_a_new_attempt_begins_afresh():
    watch = StallDetector(ALLOWANCE)
    watched(watch, 500, pulse())
    again = pulse().model_copy(update={"attempt": 2})
    assert watched(watch, 500, again, began=NOW + timedelta(seconds=500)) is None


def test_a_seat_of_which_nothing_is_heard_proves_nothing():
    watch = StallDetector(ALLOWANCE)
    for second in range(0, 3_000, 10):
        silent = answer(pulse(), seats=("ftjob-1", "ftjob-2"))
        assert watch.stuck(silent, NOW + timedelta(seconds=second)) is None
