"""How long a host believes that it is wanted."""

import threading

import pytest

from workers import dead_man_switch as trust_module
from workers.contract.host import EXIT_GRACE_S
from workers.dead_man_switch import DeadManSwitch, exit_when_expired


class Ticks:
    """A clock that only the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    monkeypatch.setattr(trust_module, "LOOK_S", 0.01)
    return Ticks()


def test_trust_is_counted_from_the_last_poll(ticks: Ticks):
    trust = DeadManSwitch(900, ticks)
    ticks.now = 900
    assert not trust.lapsed
    trust.renew()
    ticks.now = 1_800
    assert not trust.lapsed
    ticks.now = 1_801
    assert trust.lapsed
    assert not trust.spent
    ticks.now = 1_801 + EXIT_GRACE_S
    assert trust.spent


def test_a_host_that_is_done_with_its_seats_leaves_at_once(ticks: Ticks):
    left = threading.Event()
    exit_when_expired(DeadManSwitch(900, ticks), lambda: True, left.set)
    ticks.now = 901
    assert left.wait(10)


def test_a_host_that_hangs_leaves_when_its_time_is_spent(ticks: Ticks):
    left, asked = threading.Event(), threading.Event()

    def never() -> bool:
        asked.set()
        return False

    trust = DeadManSwitch(900, ticks)
    exit_when_expired(trust, never, left.set)
    ticks.now = 901
    assert asked.wait(10)
    assert not left.is_set()
    ticks.now = 901 + EXIT_GRACE_S
    assert left.wait(10)
