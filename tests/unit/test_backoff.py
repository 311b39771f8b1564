"""Pauses between retries double up to a bound, and chance spreads them."""

import pytest

from workers.contract.backoff import Backoff

BACKOFF = Backoff(first_s=1.0, longest_s=60.0)


def test_pauses_double_up_to_the_longest():
    assert [BACKOFF.pause_s(failures, 1.0) for failures in (1, 2, 3, 7, 10_000)] == [1.0, 2.0, 4.0, 60.0, 60.0]


@pytest.mark.parametrize(("jitter", "shortest"), [(0.0, 8.0), (0.5, 4.0), (1.0, 0.0)])
def test_chance_takes_away_no_more_than_the_jitter(jitter: float, shortest: float):
    backoff = Backoff(1.0, 60.0, jitter)
    assert backoff.pause_s(4, 0.0) == shortest
    assert shortest <= backoff.pause_s(4, 0.3) <= backoff.pause_s(4, 1.0) == 8.0
