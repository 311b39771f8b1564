"""The page of methods in the docs, and what a submission is told of methods."""

import pytest

from tests.builders.specs import make_base_spec
from tests.conformance import table
from workers.contract.base import Quantization
from workers.contract.lanes import Lane, NoLane, choose_lane
from workers.contract.methods import METHODS, C3a, Lora, Oft
from workers.contract.methods.on_linears import OnLinears


def test_the_page_of_methods_is_that_of_the_registries() -> None:
    assert table.PAGE.read_text() == table.page(), "run `make methods-table`"


def test_an_option_without_a_fused_form_goes_to_the_solo_lane_with_the_reason() -> None:
    spec = Lora(dora=True)
    choice = choose_lane("lora", spec.lanes, None, spec.unfusible())
    assert choice == (choose_lane("lora", spec.lanes, None, "dora"))
    assert (choice.lane, choice.reason) == (Lane.SOLO, "solo, because option 'dora' of method 'lora' has no fused form")
    with pytest.raises(NoLane, match="option 'dora' of method 'lora' cannot train in the fused lane"):
        choose_lane("lora", spec.lanes, Lane.FUSED, "dora")
    assert choose_lane("lora", spec.lanes, Lane.SOLO, "dora").reason == "solo, because the job asked for it"


@pytest.mark.parametrize(
    ("spec", "why"), [(Oft(block_size=48), "block_size is 48"), (C3a(block_size=7), "block_size is 7")]
)
def test_sizes_that_do_not_divide_those_of_the_base_are_told_with_the_linear(spec: OnLinears, why: str) -> None:
    shape = make_base_spec().shape
    with pytest.raises(ValueError, match=why) as caught:
        spec.resolve(shape.linear_names).check(shape)
    assert shape.linear_names[0] in str(caught.value)


def test_dora_is_refused_over_int8_and_lora_is_not() -> None:
    assert Lora(dora=True).refuses(Quantization.INT8)
    assert Lora().refuses(Quantization.INT8) is None
    assert all(METHODS[name]().refuses(Quantization.NONE) is None for name in METHODS)
