"""What becomes of a delivery after a try: a pure decision."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.webhooks.delivery_policy import GIVE_UP_S, LONGEST_PAUSE_S, Delivered, Failed, Retry, after_try
from orchestrator.webhooks.send import DeliveryResponse
from tests.builders.rows import NOW


def tried(answer: DeliveryResponse, attempts: int = 1, age_s: float = 0, jitter: float = 0):
    return after_try(answer, attempts, NOW - timedelta(seconds=age_s), NOW, lambda: jitter)


def pause_s(decision: object) -> float:
    assert isinstance(decision, Retry)
    return (decision.at - NOW).total_seconds()


def test_only_a_2xx_is_a_delivery():
    assert {type(tried(DeliveryResponse(status))) for status in (200, 202, 204, 299)} == {Delivered}
    assert {type(tried(DeliveryResponse(status))) for status in (100, 199, 300, 302, 400, 404, 429, 500, 599)} == {
        Retry
    }
    assert type(tried(DeliveryResponse(None, "The connection was refused."))) is Retry


def test_gone_ends_it_and_the_endpoint():
    assert tried(DeliveryResponse(410)) == Failed(disables=True)


def test_pauses_double_up_to_three_hours_and_are_shortened_by_at_most_a_half():
    pauses = [pause_s(tried(DeliveryResponse(500), attempts)) for attempts in range(1, 100)]
    assert pauses[:4] == [5, 10, 20, 40]
    assert pauses[-1] == LONGEST_PAUSE_S
    assert pauses == sorted(pauses)
    assert pause_s(tried(DeliveryResponse(500), jitter=1)) == 2.5


def test_a_receiver_that_asks_for_more_time_gets_it_within_bounds():
    assert pause_s(tried(DeliveryResponse(503, retry_after_s=120))) == 120
    assert pause_s(tried(DeliveryResponse(503, retry_after_s=1))) == 5
    assert pause_s(tried(DeliveryResponse(503, retry_after_s=10**7))) == LONGEST_PAUSE_S


@given(st.integers(1, 10_000), st.floats(0, 2 * GIVE_UP_S), st.floats(0, 1), st.none() | st.floats(0, 10**9))
def test_nothing_is_tried_at_once_nor_after_three_days(attempts: int, age_s: float, jitter: float, asked: float | None):
    decision = tried(DeliveryResponse(500, retry_after_s=asked), attempts, age_s, jitter)
    if isinstance(decision, Retry):
        assert 2.5 <= pause_s(decision) <= GIVE_UP_S - age_s + 1e-3
    else:
        assert decision == Failed()
        assert age_s > GIVE_UP_S - LONGEST_PAUSE_S - 1


@pytest.mark.parametrize("attempts", [1, 30])
def test_an_old_delivery_that_was_never_tried_gets_its_one_try(attempts: int):
    assert tried(DeliveryResponse(200), attempts, age_s=10 * GIVE_UP_S) == Delivered()
    assert tried(DeliveryResponse(500), attempts, age_s=10 * GIVE_UP_S) == Failed()
