"""A few of the simulator's schedules; `python -m tests.simulation --seeds 10000` runs many."""

import re
from collections import Counter

import pytest

from tests.simulation.faults import KINDS, Died, LostConnection
from tests.simulation.schedule import run_schedule

pytestmark = pytest.mark.xdist_group("simulation")  # the last tests ask what struck in all schedules of the first

BATCH = 30
struck: Counter[str] = Counter()
unanswered: Counter[str] = Counter()


@pytest.mark.parametrize("first", [0, BATCH, *(pytest.param(n * BATCH, marks=pytest.mark.slow) for n in (2, 3))])
def test_no_schedule_of_faults_breaks_an_invariant_or_keeps_a_job_from_ending(first: int):
    for seed in range(first, first + BATCH):
        result = run_schedule(seed)
        struck.update(result.faults)
        unanswered.update(re.findall(r"POST key-\d+ is not answered: (\w+)", "\n".join(result.trace)))
        last = "\n".join(result.trace[-40:])
        assert result.violation is None, f"python -m tests.simulation --seed {seed}: {result.violation}\n{last}"


def test_a_seed_repeats_to_the_letter():
    assert run_schedule(7).trace == run_schedule(7).trace


def test_every_kind_of_fault_has_struck():
    assert set(struck) == set(KINDS)


def test_submissions_have_met_lost_connections_and_deaths():
    assert set(unanswered) >= {LostConnection.__name__, Died.__name__}
