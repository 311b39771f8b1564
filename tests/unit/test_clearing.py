"""Rows that cannot be cleared keep no other from its turn, and an outage ends a pass early."""

import pytest

from orchestrator.errors import StorageDown
from orchestrator.steps.gc import GcPass
from orchestrator.steps.step import Counts


class Rows:
    """Numbers that leave once they are cleared, except those that fail or are refused."""

    def __init__(self, count: int, *, failing: set[int] = frozenset(), refused: set[int] = frozenset()) -> None:
        self.left = list(range(count))
        self.failing, self.refused = set(failing), set(refused)
        self.tried: list[int] = []

    def due(self, offset: int, limit: int) -> list[int]:
        return self.left[offset : offset + limit]

    def clear(self, row: int) -> Counts:
        self.tried.append(row)
        if row in self.failing:
            raise StorageDown
        if row in self.refused:
            return Counts(refused=1)
        self.left.remove(row)
        return Counts(cleared=1)

    def run(self, clearing: GcPass[int]) -> list[int]:
        """One pass; which rows it tried."""
        self.tried.clear()
        clearing.run(self.due, self.clear, str)
        return list(self.tried)


def test_a_row_that_cannot_be_cleared_is_skipped_and_tried_again_by_the_next_pass() -> None:
    rows, clearing = Rows(3, failing={0}), GcPass[int](10)
    assert clearing.run(rows.due, rows.clear, str) == Counts(delayed=1, cleared=2)
    rows.failing.clear()
    assert rows.run(clearing) == [0]
    assert rows.left == []


def test_three_failures_in_a_row_end_the_pass_and_the_next_one_begins_behind_them() -> None:
    rows, clearing = Rows(6, failing={0, 1, 2, 3}), GcPass[int](10)
    assert rows.run(clearing) == [0, 1, 2]
    assert rows.run(clearing) == [3, 4, 5]
    assert rows.run(clearing) == [0, 1, 2]


@pytest.mark.parametrize("kind", ["failing", "refused"])
def test_rows_that_stay_do_not_use_up_every_pass(kind: str) -> None:
    rows, clearing = Rows(5, **{kind: {0, 1}}), GcPass[int](2)
    assert [rows.run(clearing) for _ in range(4)] == [[0, 1], [2, 3], [4], [0, 1]]


def test_what_is_not_an_outage_passes_through() -> None:
    rows, clearing = Rows(1, failing={0}), GcPass[int](2, later=(KeyError,))
    with pytest.raises(StorageDown):
        rows.run(clearing)
