"""Rows that cannot be collected keep no other from its turn, and an outage ends a pass early."""

import pytest

from orchestrator.errors import StorageDown
from orchestrator.steps.gc import GcPass
from orchestrator.steps.step import Counts


class Rows:
    """Numbers that leave once they are collected, except those that fail or are refused."""

    def __init__(self, count: int, *, failing: set[int] = frozenset(), refused: set[int] = frozenset()) -> None:
        self.left = list(range(count))
        self.failing, self.refused = set(failing), set(refused)
        self.tried: list[int] = []

    def due(self, offset: int, limit: int) -> list[int]:
        return self.left[offset : offset + limit]

    def collect(self, row: int) -> Counts:
        self.tried.append(row)
        if row in self.failing:
            raise StorageDown
        if row in self.refused:
            return Counts(refused=1)
        self.left.remove(row)
        return Counts(collected=1)

    def run(self, gc: GcPass[int]) -> list[int]:
        """One pass; which rows it tried."""
        self.tried.clear()
        gc.run(self.due, self.collect, str)
        return list(self.tried)


def test_a_row_that_cannot_be_collected_is_skipped_and_tried_again_by_the_next_pass() -> None:
    rows, gc = Rows(3, failing={0}), GcPass[int](10)
    assert gc.run(rows.due, rows.collect, str) == Counts(delayed=1, collected=2)
    rows.failing.clear()
    assert rows.run(gc) == [0]
    assert rows.left == []


def test_three_failures_in_a_row_end_the_pass_and_the_next_one_begins_behind_them() -> None:
    rows, gc = Rows(6, failing={0, 1, 2, 3}), GcPass[int](10)
    assert rows.run(gc) == [0, 1, 2]
    assert rows.run(gc) == [3, 4, 5]
    assert rows.run(gc) == [0, 1, 2]


@pytest.mark.parametrize("kind", ["failing", "refused"])
def test_rows_that_stay_do_not_use_up_every_pass(kind: str) -> None:
    rows, gc = Rows(5, **{kind: {0, 1}}), GcPass[int](2)
    assert [rows.run(gc) for _ in range(4)] == [[0, 1], [2, 3], [4], [0, 1]]


def test_what_is_not_an_outage_passes_through() -> None:
    rows, gc = Rows(1, failing={0}), GcPass[int](2, later=(KeyError,))
    with pytest.raises(StorageDown):
        rows.run(gc)
