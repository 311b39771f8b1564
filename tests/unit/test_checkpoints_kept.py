"""Which checkpoints may go: never one that somebody may still need."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.checkpoints.retention import Candidate, superseded

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)

candidates = st.lists(
    st.builds(
        Candidate,
        seq=st.integers(1, 10_000),
        step=st.integers(1, 50),
        verified_at=st.none() | st.integers(0, 99).map(lambda minutes: NOON + timedelta(minutes=minutes)),
        valid_loss=st.none() | st.floats(0, 5),
        shared=st.booleans(),
    ),
    unique_by=lambda one: one.seq,
    max_size=15,
)


def test_the_newest_by_step_stay_and_the_others_go_oldest_first() -> None:
    assert superseded([Candidate(seq, step=seq * 10) for seq in (4, 1, 3, 5, 2)], keep=2) == [1, 2, 3]


def test_of_one_step_saved_by_two_attempts_the_later_is_the_newer() -> None:
    assert superseded([Candidate(7, step=10), Candidate(3, step=10)], keep=1) == [3]


def test_the_one_resumed_from_the_best_and_the_shared_stay_however_old() -> None:
    rows = [
        Candidate(1, 10, shared=True),
        Candidate(2, 20, verified_at=NOON),
        Candidate(3, 30, verified_at=NOON + timedelta(hours=1)),
        Candidate(4, 40, valid_loss=0.5),
        Candidate(5, 50, valid_loss=0.7),
        Candidate(6, 60),
        Candidate(7, 70),
    ]
    assert superseded(rows, keep=1) == [2, 5, 6]


@given(candidates, st.integers(1, 5))
def test_whatever_there_is_what_resuming_would_choose_first_stays(rows: list[Candidate], keep: int) -> None:
    gone = set(superseded(rows, keep))
    offered = sorted(rows, key=lambda one: (one.step, one.seq), reverse=True)
    assert not gone & {one.seq for one in offered[:keep]}
    assert not gone & {one.seq for one in rows if one.shared}
    verified = [one for one in rows if one.verified_at is not None]
    assert not verified or {one.seq for one in verified} - gone
    assert len(rows) - len(gone) <= keep + 2 + sum(one.shared for one in rows)


@given(candidates, st.integers(1, 5))
def test_deciding_again_finds_nothing_more(rows: list[Candidate], keep: int) -> None:
    gone = set(superseded(rows, keep))
    assert superseded([one for one in rows if one.seq not in gone], keep) == []
