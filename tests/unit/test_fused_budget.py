"""How large passes are and when they recompute, from knee and memory."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.builders.specs import make_base_spec
from workers.contract.base import ComputeDtype, Quantization
from workers.contract.memory import Footprint, estimate
from workers.contract.spec import TrainingSpec
from workers.lanes.fused.budget import UNBOUNDED, USEFUL_SHARE, Budget, choose_budget
from workers.lanes.fused.footprint import PROBES, ROW, probe_tokens
from workers.lanes.fused.memory_budget import MemoryBudget
from workers.lanes.fused.stack import Layout, Stack, StackedAdapter
from workers.methods import LowRankForm

FOOTPRINT = Footprint(resident_bytes=1_000, activation_bytes=100, recomputed_bytes=10, vocab_size=1)
"""A position takes 100 bytes, 10 when it is recomputed, and 12 for its logit."""


def adapter_of(name: str) -> StackedAdapter:
    layout = Layout.of(2, {"proj": (4, 4)})
    return Stack(layout, torch.device("cpu")).take(name, LowRankForm(2, 1.0, 0.0, ("proj",)), TrainingSpec())


def test_without_a_limit_only_the_knee_counts() -> None:
    assert choose_budget(4_000, None, FOOTPRINT) == Budget(4_000, UNBOUNDED)


def test_passes_are_as_large_as_memory_allows_before_anything_is_recomputed() -> None:
    assert choose_budget(4_000, 112 * 4_000, FOOTPRINT) == Budget(4_000, 4_000)
    assert choose_budget(4_000, 112 * 1_000, FOOTPRINT) == Budget(1_000, 1_000)


def test_when_little_could_be_kept_passes_recompute_and_are_large_again() -> None:
    budget = choose_budget(4_000, 112 * 399, FOOTPRINT)
    assert budget == Budget(2_031, 399)
    assert (budget.recomputes(399), budget.recomputes(400)) == (False, True)


def test_a_host_without_any_room_still_tries() -> None:
    assert choose_budget(4_000, 0, FOOTPRINT) == Budget(1, 0)


@given(
    st.integers(256, 16_384),
    st.integers(0, 10**11),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.integers(1, 300_000),
)
def test_every_shared_pass_fits_in_the_way_it_is_run(knee: int, room: int, kept: int, fewer: int, vocab: int) -> None:
    footprint = Footprint(resident_bytes=0, activation_bytes=kept, recomputed_bytes=min(fewer, kept), vocab_size=vocab)
    budget = choose_budget(knee, room, footprint)
    assert 1 <= budget.tokens <= knee
    for tokens in {budget.tokens, min(budget.kept, budget.tokens)} - {0}:
        recompute = budget.recomputes(tokens)
        assert tokens == 1 or footprint.pass_bytes(tokens, recompute=recompute) <= room
    if budget.recomputes(budget.tokens):
        assert budget.kept < USEFUL_SHARE * knee


def test_running_out_of_memory_halves_the_passes_and_what_they_keep() -> None:
    room = MemoryBudget(4_000, FOOTPRINT, None)
    room.overrun(3_000, ["a", "b"])
    assert room.budget == Budget(1_500, 1_500)
    room.overrun(900, ["a", "b"])
    assert room.budget == Budget(450, 450)
    for _ in range(9):
        room.overrun(100, ["a"])
    assert room.budget == Budget(256, 50)


def test_a_micro_batch_larger_than_what_is_shared_recomputes_and_makes_no_other_pass_smaller() -> None:
    room = MemoryBudget(4_000, FOOTPRINT, None)
    room.overrun(10_000, ["huge"])
    assert room.budget == Budget(4_000, 5_000)
    room.overrun(4_200, ["large"])
    assert room.budget == Budget(4_000, 4_000)
    assert room.budget.recomputes(4_200)


def test_the_budget_comes_back_when_all_seats_of_the_pass_that_ran_out_have_gone() -> None:
    room = MemoryBudget(4_000, FOOTPRINT, None)
    huge, small, other = (adapter_of(name) for name in ("huge", "small", "other"))
    room.hold([huge, small, other])
    room.overrun(4_000, ["huge", "small"])
    room.overrun(2_000, ["huge"])
    assert room.budget.tokens == 1_000
    room.hold([small, other])
    assert room.budget == Budget(2_000, 2_000)
    room.hold([other])
    assert room.budget == Budget(4_000, UNBOUNDED)


def test_the_limit_holds_base_and_passes() -> None:
    assert MemoryBudget(4_000, FOOTPRINT, 1_000 + 112 * 500).budget == Budget(500, 500)
    assert MemoryBudget(4_000, FOOTPRINT, 900).budget == Budget(1, 0)
    assert MemoryBudget(4_000, FOOTPRINT, None, kept_at_most=0).budget.recomputes(1)


@pytest.mark.parametrize("limit", [None, 10**12, 2 * 10**9, 1])
def test_a_probe_has_equal_rows_in_both_lengths_and_fits(limit: int | None) -> None:
    guess = estimate(make_base_spec().shape, Quantization.NF4, ComputeDtype.BF16)
    tokens = probe_tokens(guess, limit)
    assert tokens % (4 * ROW) == 0
    assert tokens <= PROBES[1]
    assert limit is None or tokens == 0 or guess.resident_bytes + tokens * guess.activation_bytes <= limit
