"""A few of the simulator's schedules; `python -m tests.simulation --seeds 10000` runs many."""

import re
from functools import cache

import pytest

from tests.simulation.faults import KINDS, Died, LostConnection
from tests.simulation.schedule import Result, run_schedule

BATCH = 30
FAST = range(2 * BATCH)
played = cache(run_schedule)


@pytest.mark.parametrize("first", [0, BATCH, *(pytest.param(n * BATCH, marks=pytest.mark.slow) for n in (2, 3))])
def test_no_schedule_of_faults_breaks_an_invariant_or_keeps_a_job_from_ending(first: int):
    for seed in range(first, first + BATCH):
        result = played(seed)
        last = "\n".join(result.trace[-40:])
        assert result.violation is None, f"python -m tests.simulation --seed {seed}: {result.violation}\n{last}"


def test_a_seed_repeats_to_the_letter():
    assert run_schedule(7).trace == played(7).trace


def test_every_kind_of_fault_has_struck():
    assert {kind for seed in FAST for kind in played(seed).faults} == set(KINDS)


def test_tenants_have_been_suspended_and_orchestrators_stopped_as_planned_both_in_time_and_too_early():
    lines = [line for seed in FAST for line in played(seed).trace]
    for what in ("is suspended", "is not suspended", "is told to stop", "has stopped", "has stopped too early"):
        assert any(line.endswith(what) for line in lines), what


def test_submissions_have_met_lost_connections_and_deaths():
    met = {why for seed in FAST for why in unanswered(played(seed))}
    assert met >= {LostConnection.__name__, Died.__name__}


def unanswered(result: Result) -> list[str]:
    """Why each POST of a schedule went without an answer."""
    return re.findall(r"POST key-\d+ is not answered: (\w+)", "\n".join(result.trace))
