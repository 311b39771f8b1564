"""The arithmetic of memory: what adds up, what is bounded, and what a room still holds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalogue.entries import Flavor
from orchestrator.catalogue.need import HostNeed
from tests.builders.specs import make_base_spec, make_job_spec
from workers.contract.base import BaseShape, ComputeDtype, Quantization
from workers.contract.memory import (
    CHUNK_LOGITS,
    LEAST_TOKENS,
    LOGIT_BYTES,
    VOCABULARY_BLOCK,
    Footprint,
    base_bytes,
    estimate,
)

FLAVOR = Flavor(name="cpu", memory_bytes=10**10, count=1)
LLAMA_8B = BaseShape(
    parameters=8_030_261_248,
    vocab_size=128_256,
    hidden_size=4096,
    intermediate_size=14_336,
    num_layers=32,
    query_size=4096,
    key_value_size=1024,
    max_positions=131_072,
)
footprints = st.builds(
    Footprint,
    resident_bytes=st.just(0),
    activation_bytes=st.integers(1, 10**7),
    recomputed_bytes=st.integers(1, 10**6),
    vocab_size=st.integers(1, 300_000),
)


@given(footprints, st.integers(0, 10**11), st.booleans())
def test_a_pass_that_is_said_to_fit_fits_and_the_next_larger_one_does_not(
    footprint: Footprint, room: int, recompute: bool
) -> None:
    tokens = footprint.tokens_within(room, recompute=recompute)
    assert tokens == 0 or footprint.pass_bytes(tokens, recompute=recompute) <= room
    assert footprint.pass_bytes(tokens + 1, recompute=recompute) > room


def test_logits_are_bounded_by_their_chunk() -> None:
    footprint = Footprint(resident_bytes=0, activation_bytes=1, recomputed_bytes=1, vocab_size=262_144)
    assert footprint.pass_bytes(10, recompute=False) == 10 + 10 * VOCABULARY_BLOCK * LOGIT_BYTES
    assert footprint.pass_bytes(10**6, recompute=False) == 10**6 + CHUNK_LOGITS * LOGIT_BYTES


@pytest.mark.parametrize(
    ("quantization", "gigabytes"), [(Quantization.NONE, 16.1), (Quantization.INT8, 9.3), (Quantization.NF4, 6.2)]
)
def test_embeddings_and_an_untied_head_stay_in_the_compute_dtype(quantization: Quantization, gigabytes: float) -> None:
    assert base_bytes(LLAMA_8B, quantization, ComputeDtype.BF16) / 1e9 == pytest.approx(gigabytes, abs=0.1)


def test_recomputation_needs_a_fraction_of_the_activations() -> None:
    footprint = estimate(LLAMA_8B, Quantization.NF4, ComputeDtype.BF16)
    assert 8 * footprint.recomputed_bytes < footprint.activation_bytes


def test_a_seat_is_its_adapter_and_not_its_micro_batch(tmp_path: Path) -> None:
    small, wide = (make_job_spec(tmp_path, batch_size=size, micro_batch_size=size) for size in (1, 64))
    assert small.seat_bytes == wide.seat_bytes == 28 * small.method.trained(small.base.shape)
    assert (small.pass_tokens, wide.pass_tokens) == (128, 64 * 128)
    assert HostNeed.of(small).total_bytes < HostNeed.of(wide).total_bytes


def test_every_host_keeps_room_for_a_pass_worth_making(tmp_path: Path) -> None:
    tiny = make_job_spec(tmp_path, batch_size=1, micro_batch_size=1, max_seq_len=8)
    footprint = estimate(make_base_spec().shape, tiny.quantization, tiny.compute_dtype)
    passes = HostNeed.of(tiny).total_bytes - footprint.resident_bytes - tiny.seat_bytes
    assert passes == footprint.pass_bytes(LEAST_TOKENS, recompute=True)
