"""Who shares a pass: fair by tokens, near in length, within the budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.lanes.fused.fair_queue import FairQueue
from workers.lanes.fused.knee import LARGEST, SMALLEST, measure_knee
from workers.lanes.fused.select_batch import MAX_PAD_SHARE, Candidate, select_batch


def candidate(width: int = 32, rows: int = 1, tenant: float = 0, seat: float = 0, alone: bool = False) -> Candidate:
    return Candidate(rows, width, rows * width, tenant, seat, alone)


def test_all_go_together_when_the_budget_allows():
    assert sorted(select_batch([candidate()] * 32, budget_tokens=32 * 32)) == list(range(32))


def test_the_tenant_served_least_goes_first_then_its_seat_served_least():
    waiting = [candidate(tenant=5, seat=0), candidate(tenant=1, seat=9), candidate(tenant=1, seat=2)]
    assert select_batch(waiting, budget_tokens=32) == [2]


def test_a_micro_batch_larger_than_the_budget_goes_alone_but_goes():
    assert select_batch([candidate(width=900), candidate(tenant=1)], budget_tokens=256) == [0]


def test_lengths_far_apart_do_not_share_a_pass():
    assert select_batch(
        [candidate(width=500), candidate(width=16, tenant=1), candidate(width=450, tenant=2)], 10_000
    ) == [
        0,
        2,
    ]


def test_who_must_not_share_neither_joins_nor_is_joined():
    assert select_batch([candidate(alone=True), candidate(tenant=1)], 10_000) == [0]
    assert select_batch([candidate(), candidate(tenant=1, alone=True)], 10_000) == [0]


candidates = st.builds(
    candidate,
    st.integers(1, 512),
    st.integers(1, 8),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.booleans(),
)


@given(st.lists(candidates, min_size=1, max_size=40), st.integers(64, 8192))
def test_no_pass_breaks_the_budget_or_pads_too_much(waiting: list[Candidate], budget: int):
    chosen = [waiting[index] for index in select_batch(waiting, budget)]
    positions = sum(each.rows for each in chosen) * max(each.width for each in chosen)
    tokens = sum(each.tokens for each in chosen)
    assert len(chosen) >= 1
    if len(chosen) > 1:
        assert positions <= budget
        assert tokens >= (1 - MAX_PAD_SHARE) * positions
        assert not any(each.alone for each in chosen)


def test_a_newcomer_starts_level_with_the_one_served_least():
    shares = FairQueue()
    shares.enter("old", "acme")
    shares.serve("old", 500)
    shares.enter("new", "beta")
    shares.enter("sibling", "acme")
    assert shares.served("new") == (500, 500)
    assert shares.served("sibling") == (500, 500)
    shares.leave("old")
    shares.leave("sibling")
    shares.enter("back", "acme")
    assert shares.served("back") == (500, 500)


@pytest.mark.parametrize(("heavy", "light", "passes"), [(2, 1, 900), (5, 3, 1_600), (1_000, 1, 4_004)])
def test_tokens_served_go_by_the_weights_of_tenants_and_no_seat_starves(heavy: int, light: int, passes: int):
    shares = FairQueue()
    seats = [*(("heavy", n) for n in range(2)), *(("light", n) for n in range(5))]
    names = [f"{tenant}-{n}" for tenant, n in seats]
    for name, (tenant, _) in zip(names, seats, strict=True):
        shares.enter(name, tenant, heavy if tenant == "heavy" else light)
    served = dict.fromkeys(names, 0)
    for _ in range(passes):
        chosen = select_batch([candidate(32, 1, *shares.served(name)) for name in names], budget_tokens=32)
        for name in (names[index] for index in chosen):
            served[name] += 32
            shares.serve(name, 32)
    by_tenant = [sum(tokens for name, tokens in served.items() if name.startswith(t)) for t in ("heavy", "light")]
    assert by_tenant[0] / by_tenant[1] == pytest.approx(heavy / light, rel=0.05)
    for tenant in ("heavy", "light"):
        own = [tokens for name, tokens in served.items() if name.startswith(tenant)]
        assert max(own) - min(own) <= 32


def test_a_change_of_weight_holds_from_the_next_seat_on_and_not_for_the_past():
    shares = FairQueue()
    shares.enter("first", "acme")
    shares.serve("first", 100)
    shares.enter("second", "acme", weight=4)
    shares.serve("first", 100)
    assert shares.served("second") == (125, 100)


@pytest.mark.parametrize(
    ("fixed_s", "per_token_s", "expected"), [(0.1, 0.001, 1_900), (0.0, 0.001, SMALLEST), (1.0, 1e-6, LARGEST)]
)
def test_the_knee_is_where_the_fixed_part_is_a_twentieth(
    monkeypatch: pytest.MonkeyPatch, fixed_s: float, per_token_s: float, expected: int
):
    clock = [0.0]
    monkeypatch.setattr("workers.lanes.fused.knee.time.perf_counter", lambda: clock[0])

    def run_pass(tokens: int) -> None:
        clock[0] += fixed_s + per_token_s * tokens

    assert measure_knee(run_pass) == pytest.approx(expected, rel=0.01)
