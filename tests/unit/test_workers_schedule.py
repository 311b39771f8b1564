"""Learning rates: warm-up, decay and the last step."""

import pytest

from workers.contract.spec import LrSchedule, TrainingSpec
from workers.engine.schedule import learning_rate
from workers.rng import derive_seed


def rates(schedule: LrSchedule, warmup_ratio: float = 0.2, total: int = 10) -> list[float]:
    training = TrainingSpec(learning_rate=0.1, lr_schedule=schedule, warmup_ratio=warmup_ratio)
    return [learning_rate(training, step, total) for step in range(total)]


@pytest.mark.parametrize("schedule", list(LrSchedule))
def test_warm_up_climbs_to_the_peak_and_wastes_no_step(schedule: LrSchedule) -> None:
    assert rates(schedule)[:3] == pytest.approx([0.05, 0.1, 0.1])


def test_constant_stays() -> None:
    assert rates(LrSchedule.CONSTANT)[2:] == [0.1] * 8


def test_linear_ends_one_decrement_above_zero() -> None:
    assert rates(LrSchedule.LINEAR)[-1] == pytest.approx(0.1 / 8)


def test_cosine_is_at_half_in_the_middle_and_never_negative() -> None:
    values = rates(LrSchedule.COSINE, warmup_ratio=0.0)
    assert values[5] == pytest.approx(0.05)
    assert values == sorted(values, reverse=True)
    assert values[-1] > 0


def test_one_step_has_the_full_rate() -> None:
    assert rates(LrSchedule.LINEAR, total=1) == [0.1]


def test_seeds_differ_by_purpose_and_stay_the_same_for_ever() -> None:
    assert derive_seed(7, "dropout", 0, 0) == derive_seed(7, "dropout", 0, 0)
    purposes = [(7, "dropout", 0, 1), (7, "dropout", 1, 0), (8, "dropout", 0, 0), (7, "adapter")]
    assert len({derive_seed(*purpose) for purpose in purposes}) == 4
    assert all(0 <= derive_seed(*purpose) < 2**63 for purpose in purposes)
